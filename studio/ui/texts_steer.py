"""The lines of the text table (`texts.py`) about steering runs: changing, branching, fixes, the queue, being told."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "run.edit": ("Change", "変更"),
    "run.extend": ("Train further", "さらに学習"),
    "change.title": ("Changed on the way", "途中での変更"),
    "change.help": (
        "It holds from the step on that the run goes on from.",
        "この実行が続きを始めるステップから有効になります。"),
    "change.help_live": ("It holds from the next step on.", "次のステップから有効になります。"),
    "change.save": ("Change", "変更する"),
    "change.resume": ("Change and go on", "変更して続ける"),
    "change.from": ("From step {step} on", "ステップ {step} から"),
    "change.value": ("{name}: {value}", "{name}：{value}"),
    "branch.button": ("Branch from here", "ここから分岐"),
    "branch.title": ("Branch from {checkpoint}", "{checkpoint} から分岐"),
    "branch.help": (
        "A new run with the same pictures goes on from this checkpoint, with what you change here.",
        "同じ画像を使う新しい実行が、ここでの変更を加えて、このチェックポイントから続きます。"),
    "branch.name_empty": ("empty: {name}, branched", "空欄なら「{name}, branched」"),
    "branch.start": ("Start the branch", "分岐を開始"),

    "fix.resume": ("Resume", "再開"),
    "fix.resume_freed": ("Space is free now: try again", "空きを作ったので再試行"),
    "fix.again": ("Start again with the same settings", "同じ設定でやり直す"),
    "fix.token": ("Try again with this token", "このトークンで再試行"),
    "fix.token_label": (
        "Hugging Face token (sent once, never stored)",
        "Hugging Face トークン（1 回だけ送り、保存しません）"),
    "fix.smaller_batch": (
        "Batch of {batch}, accumulated {accumulation} times: less memory, same effect",
        "バッチ {batch}、勾配累積 {accumulation} 回：メモリを減らして同じ効果"),
    "fix.checkpointing": (
        "Gradient checkpointing: less memory, about 20 % slower",
        "勾配チェックポイント：メモリを減らし、約 20 % 遅くなります"),
    "fix.adamw8bit": ("8-bit optimizer: less memory", "8 ビットのオプティマイザー：メモリを減らします"),
    "fix.lower_rate": ("Learning rate {rate}", "学習率 {rate}"),
    "fix.full_precision": ("Without mixed precision", "混合精度を使わない"),
    "fix.correct": ("Correct it in the form", "フォームで直す"),
    "fix.other_base": ("Choose another base model", "別のベースモデルを選ぶ"),
    "fix.how_form": ("The form opens with these settings.", "これらの設定でフォームが開きます。"),
    "fix.how_resume": ("This run goes on.", "この実行が続きます。"),
    "fix.how_branch": ("A new run goes on from {checkpoint}.", "新しい実行が {checkpoint} から続きます。"),
    "fix.how_again": ("A new run begins at the first step.", "新しい実行が最初のステップから始まります。"),

    "notify.button": ("Tell me when it ends", "終わったら知らせる"),
    "notify.on": ("You will be told when it ends", "終わったら知らせます"),
    "notify.denied": (
        "This browser does not let the studio show notifications: allow them for this address in its settings.",
        "このブラウザーは通知を許可していません。設定でこのアドレスの通知を許可してください。"),

    "queue.title": ("Queue", "順番待ち"),
    "queue.help": ("One trains at a time, from the top down.", "上から順に 1 つずつ学習します。"),
    "queue.up": ("Move {name} up", "{name} を上へ"),
    "queue.down": ("Move {name} down", "{name} を下へ"),
    "queue.place": ("{name} is number {position} now.", "{name} は {position} 番目になりました。"),
}
