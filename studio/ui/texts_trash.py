"""The lines of the text table (`texts.py`) that the page *Trash* shows, and what a deletion says."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "trash.title": ("Trash", "ゴミ箱"),
    "trash.lead": (
        "What you deleted stays here for seven days, on a shared studio only while nothing else of yours needs the "
        "room. Then it is removed for good.",
        "削除したものは 7 日間（共有スタジオでは、ほかのデータに容量が必要になるまで）ここに残り、"
        "そのあと完全に削除されます。"),
    "trash.link": ("Trash", "ゴミ箱"),
    "trash.none_title": ("The trash is empty", "ゴミ箱は空です"),
    "trash.none_text": (
        "Deleted runs, data sets, drawings and presets come here.",
        "削除した実行、データセット、生成結果、プリセットがここに入ります。"),
    "trash.holds": ("It holds {size} of the disk.", "ディスクを {size} 使っています。"),
    "trash.kind_run": ("Run", "実行"),
    "trash.kind_dataset": ("Data set", "データセット"),
    "trash.kind_job": ("Drawing or task", "生成・タスク"),
    "trash.kind_preset": ("Preset", "プリセット"),
    "trash.kind_checkpoint": ("{name} of a run", "実行の {name}"),
    "trash.kind_batches": ("Files never imported", "取り込まれなかったファイル"),
    "trash.kind_other": ("Something else", "その他"),
    "trash.column_name": ("Name", "名前"),
    "trash.column_deleted": ("Deleted", "削除日時"),
    "trash.column_left": ("Removed in", "完全に削除されるまで"),
    "trash.column_size": ("Size", "サイズ"),
    "trash.days": ("{count} days", "{count} 日"),
    "trash.hours": ("less than a day", "1 日未満"),
    "trash.restore": ("Restore", "元に戻す"),
    "trash.restore_one": ("Restore {name}", "{name} を元に戻す"),
    "trash.remove": ("Remove for good", "完全に削除"),
    "trash.remove_one": ("Remove {name} for good", "{name} を完全に削除"),
    "trash.remove_sure": (
        "Remove {name} for good? It cannot be brought back.", "{name} を完全に削除しますか？ 元に戻せません。"),
    "trash.empty": ("Empty the trash", "ゴミ箱を空にする"),
    "trash.empty_sure": (
        "Remove everything in the trash for good? It cannot be brought back.",
        "ゴミ箱の中身をすべて完全に削除しますか？ 元に戻せません。"),
    "trash.keep": ("Keep it", "残す"),
    "trash.emptied": (
        "Emptied: {size}. Pictures among it leave the disk within two days.",
        "空にしました（{size}）。画像は 2 日以内にディスクから消えます。"),
    "trash.restored": ("{name} is back.", "{name} を元に戻しました。"),
    "trash.moved": ("Moved to the trash.", "ゴミ箱に移しました。"),
    "trash.undo": ("Undo", "元に戻す"),
    "trash.unknown_place": ("where it was is not known", "元の場所が不明です"),
}
