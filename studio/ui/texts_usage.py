"""The lines of the text table about the room that people's things take, on the pages *Runs* and *Datasets*."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "usage.used": ("Your things take {used}.", "あなたのデータは {used} を使っています。"),
    "usage.of": (
        "Your things take {used} of the {limit} that you may keep here.",
        "あなたのデータは、ここに置ける {limit} のうち {used} を使っています。"),
    "usage.trash": ("{size} lie in the trash.", "ゴミ箱に {size} あります。"),
    "usage.trash_gives_way": (
        "{size} lie in the trash, and go when you need the room.",
        "ゴミ箱に {size} あり、空きが必要になると消えます。"),
    "usage.waiting": (
        "{runs} of {most_runs} runs and {jobs} of {most_jobs} jobs are waiting.",
        "待機中：実行 {runs} / {most_runs} 件、ジョブ {jobs} / {most_jobs} 件。"),
    "usage.share": ("Share of the room that you may use", "使える容量のうち使用中の割合"),
    "usage.all": (
        "What everybody's things take: {people} people, {free} free on the disk",
        "全員の使用量：{people} 人、ディスクの空き {free}"),
    "usage.person": ("Person", "人"),
    "usage.datasets": ("Data sets", "データセット"),
    "usage.runs": ("Runs", "実行"),
    "usage.jobs": ("Jobs", "ジョブ"),
    "usage.bases": ("Base models", "ベースモデル"),
    "usage.in_trash": ("Trash", "ゴミ箱"),
    "usage.empty": ("Empty the trash", "ゴミ箱を空にする"),
    "usage.empty_sure": (
        "Erase everything in the trash of this studio, of everybody who uses it? It cannot be brought back.",
        "このスタジオのゴミ箱にあるものを、使っている全員の分も含めてすべて消去しますか？ 元に戻すことはできません。"),
    "usage.emptied": ("Erased: {count}.", "消去しました：{count} 件。"),
}
