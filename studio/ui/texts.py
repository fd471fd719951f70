"""Every visible word of the pages, in one table: a line per text, a column per language.

The columns stand in the order of `languages.NAMES`: English, Japanese. `{name}` marks a value put in later. Here is
what all share; each page has a file of its own, and `texts_settings.py` has the settings. The scripts in `static/`
read the same table (`theme.head` puts its column into the page).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from studio.ui import (
    texts_datasets,
    texts_play,
    texts_run,
    texts_settings,
    texts_steer,
    texts_train,
    texts_trash,
    texts_usage,
)
from studio.web.languages import NAMES

LANGUAGES = tuple(NAMES)
_spoken = ContextVar("language", default=LANGUAGES[0])

TABLE: dict[str, tuple[str, ...]] = {
    "app.title": ("Studio", "Studio"),
    "app.pages": ("Pages", "ページ"),
    "app.language": ("Language", "言語"),
    "app.theme": ("Switch between light and dark", "ライト・ダークの切り替え"),
    "app.reconnecting": (
        "The studio does not answer; reconnecting …",
        "スタジオから応答がありません。再接続しています…"),
    "app.unauthorized": (
        "You are signed out. Open the address the studio printed when it started, or sign in again.",
        "サインアウトしています。起動時に表示されたアドレスを開くか、もう一度サインインしてください。"),
    "app.not_found": (
        "There is nothing here: it was deleted, or it belongs to somebody else.",
        "ここには何もありません。削除されたか、ほかの人のものです。"),
    "app.failed": (
        "That did not work (error {status}). The studio's log says why.",
        "うまくいきませんでした（エラー {status}）。原因はスタジオのログにあります。"),
    "app.sign_in": ("Sign in with Hugging Face", "Hugging Face でサインイン"),
    "app.sign_out": ("Sign out", "サインアウト"),
    "app.copy": ("Copy", "コピー"),
    "app.copied": ("Copied", "コピーしました"),
    "app.close": ("Close", "閉じる"),
    "app.never": ("–", "–"),

    "time.seconds": ("{s} s", "{s} 秒"),
    "time.minutes": ("{m} min {s} s", "{m} 分 {s} 秒"),
    "time.hours": ("{h} h {m} min", "{h} 時間 {m} 分"),

    "state.queued": ("Queued", "待機中"),
    "state.starting": ("Starting", "起動中"),
    "state.running": ("Running", "実行中"),
    "state.stopping": ("Stopping", "停止処理中"),
    "state.paused": ("Paused", "一時停止"),
    "state.interrupted": ("Interrupted", "中断"),
    "state.finished": ("Finished", "完了"),
    "state.stopped": ("Stopped", "停止"),
    "state.cancelled": ("Cancelled", "キャンセル済み"),
    "state.failed": ("Failed", "失敗"),
    "state.diverged": ("Diverged", "発散"),

    "says.queued": ("Waiting for its turn.", "順番を待っています。"),
    "says.queued_at": ("Waiting: number {position} in the queue.", "順番待ち：{position} 番目です。"),
    "says.starting": ("Starting the training process …", "学習プロセスを起動しています…"),
    "says.running": ("Training.", "学習しています。"),
    "says.stopping": ("Finishing the step and ending …", "現在のステップを終えてから停止します…"),
    "says.paused": (
        "Paused and saved. Resume continues exactly here.",
        "保存して一時停止しました。再開すると、ちょうどここから続きます。"),
    "says.interrupted": (
        "It ended without saying why. Resume continues from the last checkpoint.",
        "理由が記録されないまま終了しました。再開すると、最後のチェックポイントから続きます。"),
    "says.finished": (
        "All steps done. The model is ready to take away.",
        "すべてのステップが完了しました。モデルを持ち帰れます。"),
    "says.stopped": (
        "Stopped and saved. Take it away, or resume.",
        "保存して停止しました。持ち帰ることも、再開することもできます。"),
    "says.cancelled": (
        "Cancelled without saving. Earlier checkpoints are kept.",
        "保存せずに終了しました。それまでのチェックポイントは残っています。"),
    "says.failed": ("It failed. What happened is written below.", "失敗しました。何が起きたかは下に書かれています。"),
    "says.diverged": (
        "The loss stopped being a number. Try a smaller learning rate.",
        "損失が数値でなくなりました。学習率を下げて試してください。"),

    "phase.downloading": ("Downloading the base model", "ベースモデルをダウンロード中"),
    "phase.loading": ("Loading the model", "モデルを読み込み中"),
    "phase.caching": ("Preparing pictures and captions", "画像とキャプションを準備中"),
    "phase.training": ("Training", "学習中"),
    "phase.sampling": ("Drawing sample pictures", "サンプル画像を生成中"),
    "phase.saving": ("Saving a checkpoint", "チェックポイントを保存中"),
    "phase.validating": ("Measuring the validation loss", "検証損失を測定中"),
    "phase.exporting": ("Writing the result", "結果を書き出し中"),
    "phase.counted": ("{phase}: {done} of {total} {unit}", "{phase}：{done} / {total} {unit}"),
    "phase.measuring": ("Measuring pictures", "画像を測定中"),
    "phase.captioning": ("Writing captions", "キャプションを作成中"),
    "phase.encoding": ("Encoding", "エンコード中"),
    "phase.assembling": ("Putting the files together", "ファイルを準備中"),
    "phase.uploading": ("Uploading", "アップロード中"),
    "phase.renting": ("Waiting for the rented machine", "借りるマシンを待っています"),
    "phase.fetching": ("Fetching what was made", "作られたものを受け取り中"),

    "unit.pictures": ("pictures", "枚"),
    "unit.encodings": ("encodings", "件"),
    "unit.steps": ("steps", "ステップ"),
    **texts_train.TABLE,
    **texts_run.TABLE,
    **texts_steer.TABLE,
    **texts_datasets.TABLE,
    **texts_play.TABLE,
    **texts_trash.TABLE,
    **texts_settings.TABLE,
    **texts_usage.TABLE,
}


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """What `t` says inside is in `language`."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def t(key: str, /, **values: object) -> str:
    """One text, in the language spoken at the moment, with its values put in."""
    text = _cell(TABLE[key], LANGUAGES.index(_spoken.get()))
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def table(language: str) -> dict[str, str]:
    """All texts in a language."""
    return {key: _cell(row, LANGUAGES.index(language)) for key, row in TABLE.items()}


def _cell(row: tuple[str, ...], column: int) -> str:
    return row[column] if column < len(row) else row[0]
