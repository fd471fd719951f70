"""The lines of the text table (`texts.py`) that the page *Train* shows."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "train.nav": ("Train", "学習"),
    "train.title": ("Train", "学習"),
    "train.lead": (
        "Teach a text-to-image model what your pictures look like.",
        "画像生成モデルに、あなたの画像の特徴を教えます。"),
    "train.learn_title": ("Pictures and model", "画像とモデル"),
    "train.learn_help": (
        "Start as it is to try the studio out, or bring your own pictures on the page Datasets.",
        "そのままでも試せます。自分の画像は「データセット」ページで追加します。"),
    "train.settings_title": ("The settings that matter", "主な設定"),
    "train.settings_help": (
        "An empty field takes the value it shows.",
        "空欄には、薄く表示されている値が使われます。"),
    "train.more_title": ("Everything else", "その他の設定"),
    "train.more_help": (
        "Good as it is; open a group to change it.",
        "そのままで十分です。変えたいときはグループを開いてください。"),
    "train.base_help": (
        "The model that ships with the studio, a diffusers folder on this machine, or a Hugging Face Hub id such as "
        "`owner/name`.",
        "スタジオ付属のモデル、このマシンの diffusers 形式のフォルダー、または `owner/name` のような Hugging Face "
        "Hub の ID。"),
    "train.embedded": ("Embedded (ships with the studio)", "内蔵モデル（スタジオ付属）"),
    "train.dataset_choice": ("{name} · {count} pictures", "{name} · {count} 枚"),
    "train.goal": ("Goal", "目的"),
    "train.goal_help": (
        "What you want to teach. It sets everything but the pictures, the base and the prompts.",
        "何を教えたいかを選びます。画像・ベースモデル・プロンプト以外がすべて設定されます。"),
    "train.find": ("Find a setting", "設定を検索"),
    "train.find_nothing": ("No setting has that word.", "その語を含む設定はありません。"),
    "train.recipe_title": (
        "These settings as JSON, as a command, as a preset",
        "この設定を JSON・コマンド・プリセットにする"),
    "train.recipe_json": ("Settings", "設定"),
    "train.recipe_command": ("Command line", "コマンドライン"),
    "train.preset_title": ("Preset of your own", "自分のプリセット"),
    "train.preset_name": ("Name of the preset", "プリセット名"),
    "train.preset_save": ("Keep these settings", "この設定を保存"),
    "train.preset_export": ("Save {name} as a file", "{name} をファイルに保存"),
    "train.preset_taken": (
        "The preset “{name}” is among your goals now.", "プリセット「{name}」を「目的」に追加しました。"),
    "train.preset_refused": ("The preset “{name}” cannot be taken", "プリセット「{name}」は使えません"),
    "train.preset_help": (
        "To share a preset, save it as a file; dropped on this page, such a file is kept among the goals.",
        "プリセットはファイルに保存して共有できます。このページにドロップすると「目的」に追加されます。"),
    "train.preset_delete": ("Delete {name}", "{name} を削除"),
    "train.drop_nothing": ("{name} holds no settings of a run.", "{name} には学習の設定が入っていません。"),
    "train.drop_taken": ("The form has the settings of {name}.", "{name} の設定をフォームに読み込みました。"),
    "train.estimate_time": ("Time", "時間"),
    "train.estimate_time_measured": ("measured: {name}", "実測：{name}"),
    "train.estimate_time_scaled": ("a guess, from the sizes of {name}", "推定（{name} の規模から換算）"),
    "train.estimate_time_unknown": (
        "not known: nothing like it has run here",
        "不明（このマシンに似た実行記録がありません）"),
    "train.estimate_memory": ("Memory", "メモリ"),
    "train.estimate_memory_measured": ("measured: {name}", "実測：{name}"),
    "train.estimate_memory_scaled": ("a guess, from the sizes of {name}", "推定（{name} の規模から換算）"),
    "train.estimate_memory_weights": ("for the weights; pictures come on top", "重みの分。画像の分が加わります"),
    "train.estimate_disk": ("Disk", "ディスク"),
    "train.estimate_disk_note": ("for the checkpoints kept", "残すチェックポイントの分"),
    "train.about": ("about {value}", "約 {value}"),
    "train.at_least": ("at least {value}", "{value} 以上"),
    "train.up_to": ("up to {value}", "最大 {value}"),
    "train.paste_title": ("Paste a command or settings", "コマンドや設定を貼り付ける"),
    "train.paste_label": (
        "Command line of train_text_to_image.py (or its LoRA sibling), or settings as JSON",
        "train_text_to_image.py（または LoRA 版）のコマンドライン、あるいは JSON の設定"),
    "train.paste_help": (
        "As you run it today, `accelerate launch` included. It fills the form; nothing starts yet. A weight file "
        "that was taken home carries its settings too: drop it on this page.",
        "いつも実行しているもの（`accelerate launch` を含む）をそのまま貼り付けられます。フォームに入力されるだけで、"
        "学習は始まりません。持ち帰った重みファイルにも設定が入っています。このページにドロップしてください。"),
    "train.paste_fill": ("Fill the form", "フォームに入力"),
    "train.paste_all": ("Every option has found its place.", "すべてのオプションを読み取りました。"),
    "train.paste_left": ("No place here", "対応する設定がないもの"),
    "train.start_title": ("Ready", "準備完了"),
    "train.name": ("Run name", "実行名"),
    "train.name_empty": ("empty: named by date", "空欄なら日付が名前になります"),
    "train.start": ("Start training", "学習を開始"),
    "train.check": ("Check", "動作確認"),
    "train.check_title": ("Check", "動作確認"),
    "train.check_queued": (
        "Waiting for its turn: number {position} in the queue.",
        "順番待ち：{position} 番目です。"),
    "train.check_starting": ("Starting …", "起動しています…"),
    "train.check_cancel": ("Cancel the check", "動作確認をキャンセル"),
    "train.check_cancelled": ("The check was cancelled.", "動作確認はキャンセルされました。"),
    "train.check_ended": ("The check ended without saying why.", "動作確認が理由を残さずに終了しました。"),
    "train.check_good": (
        "It works: {steps} steps and a picture.",
        "問題ありません：{steps} ステップと画像 1 枚を確認しました。"),
    "train.check_no_picture": (
        "{steps} steps worked, the picture did not.",
        "{steps} ステップは成功しましたが、画像を生成できませんでした。"),
    "train.check_not_finite": (
        "The loss is not a number after {steps} steps: lower the learning rate, or choose mixed precision `no`.",
        "{steps} ステップ後の損失が数値ではありません。学習率を下げるか、混合精度を `no` にしてください。"),
    "train.check_step": ("A step", "1 ステップ"),
    "train.check_picture": ("A picture", "画像 1 枚"),
    "train.check_begin": ("Until the first step", "最初のステップまで"),
    "train.check_memory": ("Peak memory", "最大メモリ"),
    "train.check_gpu": ("Peak GPU memory", "最大 GPU メモリ"),
    "train.check_loss": ("Loss", "損失"),
    "train.check_seconds": ("{value} s", "{value} 秒"),
    "train.check_drawn": ("A picture of “{prompt}” after these steps", "このステップ数での「{prompt}」の画像"),
    "train.reset": ("Back to the defaults", "初期設定に戻す"),
    "train.import_it": ("Import {name} from the Hub", "{name} を Hub から取り込む"),
    "train.problems_one": ("One thing to change before this can start", "開始する前に直すところが 1 つあります"),
    "train.problems_many": (
        "{count} things to change before this can start",
        "開始する前に直すところが {count} 個あります"),
    "train.warnings": ("Worth knowing", "知っておきたいこと"),
    "train.ready": ("Nothing is in the way.", "問題ありません。いつでも始められます。"),
    "train.checking": ("Checking …", "確認しています…"),
    "train.fact_method": ("What learns", "学習する部分"),
    "train.method_full": ("Every weight", "すべての重み"),
    "train.method_lora": ("LoRA, rank {rank}", "LoRA（ランク {rank}）"),
    "train.fact_steps": ("Steps", "ステップ数"),
    "train.fact_batch": ("Pictures per step", "1 ステップの画像数"),
    "train.fact_seen": ("Pictures seen", "のべ画像数"),
    "train.fact_side": ("Picture size", "画像サイズ"),
    "train.fact_lr": ("Learning rate", "学習率"),
    "train.fact_precision": ("Precision", "精度"),
    "train.pixels": ("{side} × {side}", "{side} × {side}"),

    "form.empty": ("empty: from the base", "空欄：ベースモデルに従う"),
    "form.empty_is": ("empty: {value}", "空欄：{value}"),
}
