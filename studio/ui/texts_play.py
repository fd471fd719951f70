"""The lines of the text table (`texts.py`) that the page *Try it* shows: drawing with what was trained."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "play.nav": ("Try it", "試す"),
    "play.title": ("Try it", "試す"),
    "play.lead": (
        "Draw with what a run has learnt, beside the model it came from and with the same seeds.",
        "学習したモデルで描き、もとのモデルと同じシードで見比べます。"),
    "play.choose": ("Choose a run", "実行を選ぶ"),
    "play.none_title": ("Nothing to draw with yet", "試せるものはまだありません"),
    "play.none_text": (
        "A run can be tried as soon as its first checkpoint is saved.",
        "最初のチェックポイントが保存されると、その実行を試せます。"),
    "play.no_checkpoint": (
        "This run has no checkpoint yet. It can be tried as soon as the first one is saved.",
        "この実行にはまだチェックポイントがありません。最初のものが保存されると試せます。"),
    "play.run": ("Go to the run", "この実行へ"),
    "play.other": ("Other runs", "ほかの実行"),
    "play.newest": ("newest checkpoint: step {step}", "最新のチェックポイント：ステップ {step}"),
    "play.with": ("Draw with", "使う重み"),
    "play.base": ("The base model, beside them", "ベースモデルも並べる"),
    "play.base_short": ("Base", "ベース"),
    "play.column": ("Weights {number}", "重み {number}"),
    "play.column_is": ("Step {step} · {weights}", "ステップ {step}・{weights}"),
    "play.column_scaled": ("Step {step} · {weights} × {scale}", "ステップ {step}・{weights} × {scale}"),
    "play.scale": ("Strength of weights {number}", "重み {number} の強さ"),
    "play.scale_help": (
        "Strength of the LoRA: 1 as it was trained, 0 the base, up to 1.5.",
        "LoRA の強さ：1 は学習したまま、0 はベース、最大 1.5。"),
    "play.add": ("Add weights", "重みを追加"),
    "play.remove": ("Take weights {number} away", "重み {number} を外す"),
    "play.prompts": ("Prompts, one a line", "プロンプト（1 行に 1 つ）"),
    "play.history": ("Earlier prompts", "以前のプロンプト"),
    "play.history_none": (
        "What you draw is remembered here, in this browser alone.",
        "描いたプロンプトがここに残ります。このブラウザーだけに保存されます。"),
    "play.history_clear": ("Forget them", "履歴を消す"),
    "play.negative": ("Negative prompt", "ネガティブプロンプト"),
    "play.negative_empty": ("what the pictures should not have", "画像に含めたくないもの"),
    "play.seed": ("First seed", "最初のシード"),
    "play.seed_empty": ("empty: random", "空欄ならランダム"),
    "play.each": ("Pictures of each", "それぞれの枚数"),
    "play.guidance": ("Guidance", "ガイダンス"),
    "play.steps": ("Drawing steps", "生成ステップ数"),
    "play.width": ("Width in pixels", "幅（ピクセル）"),
    "play.height": ("Height in pixels", "高さ（ピクセル）"),
    "play.draw_count": ("Draw {count} pictures", "{count} 枚を描く"),
    "play.draw_one": ("Draw 1 picture", "1 枚を描く"),
    "play.pictures": ("Pictures", "画像"),
    "play.empty": (
        "The pictures appear here one by one. The job goes on when you leave the page.",
        "画像が 1 枚ずつここに表示されます。ページを離れても処理は続きます。"),
    "play.queued": (
        "Waiting for its turn: one run or drawing works at a time, so that none runs out of memory.",
        "順番を待っています。メモリ不足を防ぐため、実行や描画は 1 つずつ行われます。"),
    "play.counted": ("Drawing: {done} of {total}", "描画中：{done} / {total}"),
    "play.stopping": ("Ending …", "終了しています…"),
    "play.done": ("{count} pictures.", "{count} 枚。"),
    "play.cancelled": ("Ended after {count} pictures.", "{count} 枚で終了しました。"),
    "play.cancel": ("End the drawing", "描画を終える"),
    "play.row": ("{prompt} · seed {seed}", "{prompt}・シード {seed}"),
    "play.no_prompt": ("(no prompt)", "（プロンプトなし）"),
    "play.alt": ("{column}, seed {seed}: {prompt}", "{column}、シード {seed}：{prompt}"),
    "play.download": ("Download", "ダウンロード"),
    "play.download_of": ("Download: {picture}", "ダウンロード：{picture}"),
    "play.waiting": ("Not drawn yet", "まだ描かれていません"),
    "play.earlier": ("Earlier drawings", "以前の描画"),
    "play.gone": (
        "That drawing is no longer here: drawings are kept for seven days.",
        "その描画はもうありません。描画は 7 日間保存されます。"),
    "play.earlier_help": ("Kept for seven days.", "7 日間保存されます。"),

    "vote.button": ("Vote blind", "ブラインド投票"),
    "vote.title": ("Which one is better?", "どちらが良いですか？"),
    "vote.kept": ("Blind votes on this run", "この実行のブラインド投票"),
    "vote.none": (
        "There is nothing to compare: a vote needs two pictures of one prompt and seed.",
        "比べるものがありません。投票には、同じプロンプトとシードの画像が 2 枚必要です。"),
    "vote.place": ("Pair {number} of {total}", "{total} 組中 {number} 組目"),
    "vote.left": ("Left", "左"),
    "vote.right": ("Right", "右"),
    "vote.alt_left": ("The left picture", "左の画像"),
    "vote.alt_right": ("The right picture", "右の画像"),
    "vote.tie": ("No difference", "差はない"),
    "vote.back": ("Take the last vote back", "直前の投票を取り消す"),
    "vote.end": ("Stop and show the names", "やめて名前を見る"),
    "vote.keys": (
        "By keyboard: ← left, → right, ↓ no difference, Backspace back.",
        "キーボード：← 左、→ 右、↓ 差はない、Backspace 取り消し。"),
    "vote.over": ("{done} of {total} pairs voted on.", "{total} 組中 {done} 組に投票しました。"),
    "vote.against": ("{a} against {b}", "{a} と {b}"),
    "vote.share": (
        "Preferred in {won} of {votes} decided votes: {share} % (95 % interval {low} to {high} %). No difference: "
        "{ties}.",
        "決着のついた {votes} 票のうち {won} 票で前者が選ばれました：{share} %（95 % 区間 {low}〜{high} %）。差はない："
        "{ties}。"),
    "vote.only_ties": ("No difference in all {ties} votes.", "{ties} 票すべてで差はありませんでした。"),
    "vote.telling": (
        "More than chance would give: the interval leaves out one half.",
        "偶然とは言えない差です。区間に 50 % が含まれていません。"),
    "vote.open": (
        "Too close or too few votes to tell them apart: the interval includes one half.",
        "差が小さいか票が少なく、区別できません。区間に 50 % が含まれています。"),
    "vote.honest": (
        "Wilson's interval, for each two weights by itself. It speaks of these prompts and seeds and of one person's "
        "taste.",
        "Wilson の区間を、2 つの重みごとに計算しています。今回のプロンプトとシード、投票した人の好みについての結果で"
        "す。"),

    "overfit.title": ("Overfitting", "過学習"),
    "overfit.recommended": ("Recommended: step {step}, {weights}", "おすすめ：ステップ {step}、{weights}"),
    "overfit.only_advice": (
        "A recommendation, from these figures alone: your own eyes decide.",
        "この数値だけにもとづくおすすめです。最後はご自分の目で決めてください。"),
    "overfit.why_validation": (
        "Of all kept checkpoints it has the lowest loss on held-out pictures: {loss}.",
        "残っているチェックポイントのうち、検証用画像の損失が最も低いものです：{loss}。"),
    "overfit.why_newest": (
        "It is the newest one. No pictures were held out, so no figure says which is best: hold some out next time "
        "(Validation loss, share held out).",
        "最新のものです。検証用の画像がないため、どれが最良かを示す数値はありません。次回は画像の一部を検証用に残してくだ"
        "さい（検証損失の「取り分ける割合」）。"),
    "overfit.risen": (
        "The held-out loss was lowest at step {best} ({low}) and has risen since, to {last}: the run overfits.",
        "検証損失はステップ {best} で最も低く（{low}）、その後 {last} まで上がりました。過学習が起きています。"),
    "overfit.not_risen": (
        "The held-out loss has not risen from its lowest, {low}.",
        "検証損失は最低値 {low} から上がっていません。"),
    "overfit.copies": (
        "{copies} of its {pictures} samples look like copies of training pictures.",
        "そのサンプル {pictures} 枚のうち {copies} 枚が、学習画像のコピーに見えます。"),
    "overfit.no_copies": (
        "None of its {pictures} samples looks like a copy of a training picture.",
        "そのサンプル {pictures} 枚に、学習画像のコピーに見えるものはありません。"),
    "overfit.no_checkpoint": (
        "A checkpoint is recommended here as soon as there is one.",
        "チェックポイントができると、ここにおすすめが表示されます。"),
    "overfit.compare": ("Compare samples with the training pictures", "サンプルを学習画像と比べる"),
    "overfit.busy": ("Comparing …", "比較しています…"),
    "overfit.not_compared": (
        "Samples that come very near to a single training picture are a sign that it is known by heart.",
        "特定の学習画像にとても近いサンプルは、その画像を丸暗記しているしるしです。"),
    "overfit.compared": (
        "{measured} of {count} samples are compared; of each prompt the nearest is shown. The distance is that of "
        "small thumbnails, 0 to 255; training pictures usually lie {usual} from the next one.",
        "サンプル {count} 枚のうち {measured} 枚を比較し、プロンプトごとに最も近いものを表示しています。距離は縮小画像"
        "どうしの差（0〜255）で、学習画像どうしはふつう最も近いものと {usual} 離れています。"),
    "overfit.copy": ("Looks like a copy", "コピーに見えます"),
    "overfit.sample": ("Step {step}, {weights}: {prompt}", "ステップ {step}、{weights}：{prompt}"),
    "overfit.nearest": (
        "nearest: {name}, distance {distance}, {bits} of 64 hash bits",
        "最も近い画像：{name}、距離 {distance}、ハッシュの差 64 ビット中 {bits}"),
    "overfit.alt": ("Nearest training picture, {name}: {caption}", "最も近い学習画像、{name}：{caption}"),
    "overfit.gone": ("The training picture is no longer in its data set", "この学習画像はもうデータセットにありません"),
    "phase.comparing": ("Comparing pictures", "画像を比較中"),
    "jobs.kind_likeness": ("Comparing samples with the training pictures", "サンプルと学習画像の比較"),

    "phase.drawing": ("Drawing pictures", "画像を描画中"),
    "jobs.kind_draw": ("Drawing pictures", "画像の描画"),
}
