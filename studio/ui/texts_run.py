"""The lines of the text table (`texts.py`) that the page *Runs* shows, the list and a single run."""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    "runs.nav": ("Runs", "実行一覧"),
    "runs.title": ("Runs", "実行一覧"),
    "runs.lead": (
        "What is training now, and everything trained before.",
        "いま学習しているものと、これまでに学習したもの。"),
    "runs.loading": ("Loading …", "読み込み中…"),
    "runs.none_title": ("No runs yet", "実行はまだありません"),
    "runs.none_text": (
        "The first one takes two clicks: a small model and sample pictures are ready.",
        "最初の 1 回は 2 クリックで始められます。小さなモデルとサンプル画像が用意されています。"),
    "runs.none_action": ("Set up a run", "学習を設定する"),
    "runs.all": ("All runs", "すべての実行"),
    "runs.unnamed": ("Run {id}", "実行 {id}"),
    "runs.column_name": ("Name", "名前"),
    "runs.column_state": ("State", "状態"),
    "runs.column_step": ("Step", "ステップ"),
    "runs.column_loss": ("Loss", "損失"),
    "runs.column_when": ("Started", "開始"),

    "run.step": ("Step", "ステップ"),
    "run.of": ("{step} of {total}", "{step} / {total}"),
    "run.progress": ("Progress", "進み具合"),
    "run.eta": ("Time left", "残り時間"),
    "run.rate": ("Pictures/s", "画像/秒"),
    "run.loss": ("Loss", "損失"),
    "run.lr": ("Learning rate", "学習率"),
    "run.memory": ("Peak memory", "最大メモリ"),
    "run.memory_now": ("Memory", "メモリ"),
    "run.cores": ("Cores busy", "使用中のコア"),
    "run.gpu_memory": ("GPU memory", "GPU メモリ"),
    "run.gpu": ("GPU load", "GPU 使用率"),
    "run.phase_progress": ("Progress of this phase", "この段階の進み具合"),
    "run.phase_left": ("about {time} left in this phase", "この段階の残りは約 {time}"),
    "run.gone_title": ("This run is not here", "この実行はここにありません"),
    "run.stop": ("Stop and save", "保存して停止"),
    "run.pause": ("Pause", "一時停止"),
    "run.cancel": ("Cancel", "キャンセル"),
    "run.cancel_sure": (
        "Cancel this run? What it learned since the last checkpoint is lost.",
        "この実行をキャンセルしますか？ 最後のチェックポイントより後に学習した内容は失われます。"),
    "run.cancel_yes": ("Cancel the run", "実行をキャンセル"),
    "run.keep": ("Keep it", "続ける"),
    "run.resume": ("Resume", "再開"),
    "run.sample": ("Sample now", "今すぐ生成"),
    "run.save": ("Save now", "今すぐ保存"),
    "run.delete": ("Delete", "削除"),
    "run.delete_sure": (
        "Delete this run with its samples and checkpoints? It stays in the trash for seven days, or until its room is "
        "needed, and is then erased.",
        "この実行を、サンプル画像とチェックポイントごと削除しますか？ 7 日間、または容量が必要になるまでゴミ箱に残り、"
        "その後消去されます。"),
    "run.delete_yes": ("Delete the run", "実行を削除"),
    "run.rename": ("Rename", "名前を変更"),
    "run.try": ("Try it", "試す"),
    "run.try_at": ("Try step {step}", "ステップ {step} を試す"),
    "run.name": ("Run name", "実行名"),
    "run.asked": ("Asked. It happens at the next step.", "受け付けました。次のステップで行われます。"),
    "run.prompt": ("Prompt for one more picture", "もう 1 枚生成するプロンプト"),
    "run.prompt_empty": ("empty: the prompts of this run", "空欄ならこの実行のプロンプト"),
    "run.warnings": ("Worth knowing", "知っておきたいこと"),
    "run.evidence": ("Evidence", "根拠"),
    "run.what_to_do": ("What to do", "対処方法"),
    "run.details": ("Details", "詳細"),
    "run.command": ("Command line", "コマンドライン"),
    "run.config": ("Settings", "設定"),
    "run.log": ("Log", "ログ"),
    "run.log_empty": ("Nothing written yet.", "まだ何も書かれていません。"),
    "run.downloads": ("Take it home", "持ち帰る"),
    "run.downloads_none": (
        "The first checkpoint appears here as soon as it is saved; you can take it while the run goes on.",
        "最初のチェックポイントは、保存されるとすぐここに表示されます。実行中でも持ち帰れます。"),
    "run.checkpoint": ("Step {step}", "ステップ {step}"),
    "run.file_pipeline_ema": ("Whole model, EMA (.zip)", "モデル全体、EMA (.zip)"),
    "run.file_pipeline_raw": ("Whole model, raw (.zip)", "モデル全体、raw (.zip)"),
    "run.file_single_ema": (
        "One file for {programs}, EMA (.safetensors)",
        "{programs} 用の単一ファイル、EMA (.safetensors)"),
    "run.file_single_raw": (
        "One file for {programs}, raw (.safetensors)",
        "{programs} 用の単一ファイル、raw (.safetensors)"),
    "run.precision": ("Precision", "精度"),
    "run.precision_fp32": ("fp32, as trained", "fp32（学習時のまま）"),
    "run.precision_fp16": ("fp16, half the size", "fp16（半分のサイズ）"),
    "run.precision_bf16": ("bf16, half the size", "bf16（半分のサイズ）"),
    "run.single_help": (
        "The one file goes into models/checkpoints of ComfyUI, or models/Stable-diffusion of A1111. Files of weights "
        "carry the run's settings and the fingerprint of its data.",
        "単一ファイルは、ComfyUI なら models/checkpoints に、A1111 なら models/Stable-diffusion に置きます。重みファ"
        "イルには、この実行の設定とデータのフィンガープリントが入っています。"),
    "run.file_unet_ema": ("UNet, EMA (.safetensors)", "UNet、EMA (.safetensors)"),
    "run.file_unet_raw": ("UNet, raw (.safetensors)", "UNet、raw (.safetensors)"),
    "run.file_text_encoder_ema": ("Text encoder, EMA (.safetensors)", "テキストエンコーダー、EMA (.safetensors)"),
    "run.file_text_encoder_raw": ("Text encoder, raw (.safetensors)", "テキストエンコーダー、raw (.safetensors)"),
    "run.file_part_ema": ("{part}, EMA (.safetensors)", "{part}、EMA (.safetensors)"),
    "run.file_part_raw": ("{part}, raw (.safetensors)", "{part}、raw (.safetensors)"),
    "run.file_config": ("Settings (.json)", "設定 (.json)"),
    "run.file_lora_ema": ("LoRA for {programs}, EMA (.safetensors)", "{programs} 用 LoRA、EMA (.safetensors)"),
    "run.file_lora_raw": ("LoRA for {programs}, raw (.safetensors)", "{programs} 用 LoRA、raw (.safetensors)"),
    "run.file_lora-kohya_ema": (
        "LoRA for {programs}, in kohya's naming, EMA (.safetensors)",
        "{programs} 用 LoRA（kohya 形式の名前）、EMA (.safetensors)"),
    "run.file_lora-kohya_raw": (
        "LoRA for {programs}, in kohya's naming, raw (.safetensors)",
        "{programs} 用 LoRA（kohya 形式の名前）、raw (.safetensors)"),
    "run.file_best_pipeline": ("Download the model", "モデルをダウンロード"),
    "run.file_best_lora": ("Download the LoRA", "LoRA をダウンロード"),
    "run.lora_help": (
        "A LoRA is used together with the base model it was trained on: in diffusers load it with "
        "pipeline.load_lora_weights(file).",
        "LoRA は学習に使ったベースモデルと一緒に使います。diffusers では pipeline.load_lora_weights(file) で読み込め"
        "ます。"),
    "run.ema_help": (
        "EMA is the average of the weights and usually draws better; raw is the weights of that step.",
        "EMA は重みの移動平均で、たいていこちらのほうがきれいに生成できます。raw はそのステップの重みそのものです。"),

    "publish.title": ("Publish on the Hugging Face Hub", "Hugging Face Hub で公開"),
    "publish.help": (
        "Uploads the newest result with a model card: samples, settings, data, base model and licence. Without a "
        "token your sign-in's is used.",
        "最新の結果を、サンプル・設定・データ・ベースモデル・ライセンスを記したモデルカードとともにアップロードします"
        "。トークンを入力しなければ、サインインしたアカウントのものを使います。"),
    "publish.repo": ("Repository", "リポジトリ"),
    "publish.repo_empty": ("empty: named after the run", "空欄なら実行名から付けます"),
    "publish.weights": ("Weights", "重み"),
    "publish.token": (
        "Token that may write (sent once, never stored)",
        "書き込み権限のあるトークン（一度だけ送信され、保存されません）"),
    "publish.private": ("Private: only you see it", "非公開（自分だけが見られます）"),
    "publish.go": ("Publish", "公開"),
    "publish.busy": ("Uploading …", "アップロードしています…"),
    "publish.done": ("Published:", "公開しました："),
    "publish.ended": ("The upload was ended.", "アップロードは打ち切られました。"),

    "resume.title": ("Resume certificate", "再開の証明"),
    "resume.all_exact": (
        "This run was interrupted, and its result is what it would have been without: every loss and every weight is "
        "the same, bit for bit.",
        "この実行は中断されましたが、結果は中断がなかった場合と同じです。損失も重みも、すべてビット単位で一致します。"),
    "resume.not_all": (
        "This run was interrupted. It continues where it was, but not bit for bit as without.",
        "この実行は中断されました。途中から続きますが、中断がなかった場合とビット単位では一致しません。"),
    "resume.exact": (
        "Resumed at step {step} from {checkpoint}: bit-identical. Device, threads, precision and versions are the "
        "same as when it was saved.",
        "ステップ {step} で {checkpoint} から再開：ビット単位で一致します。デバイス、スレッド数、精度、バージョンは保"
        "存時と同じです。"),
    "resume.near": (
        "Resumed at step {step} from {checkpoint}: continues, not bit-identical.",
        "ステップ {step} で {checkpoint} から再開：続きから進みますが、ビット単位では一致しません。"),
    "resume.begun": (
        "Begun anew at step 0, since no checkpoint had been saved: bit-identical.",
        "保存されたチェックポイントがなかったため、ステップ 0 からやり直しました：ビット単位で一致します。"),

    "chart.title": ("Curves", "グラフ"),
    "chart.smooth": ("Smoothing", "平滑化"),
    "chart.logs": ("Log scale", "対数目盛"),
    "chart.clips": ("Clip outliers", "外れ値を切り取る"),
    "chart.reset": ("Show all", "全体を表示"),
    "chart.zoom_in": ("Zoom in", "拡大"),
    "chart.zoom_out": ("Zoom out", "縮小"),
    "chart.panels": ("Curves of this run", "この実行のグラフ"),
    "chart.help": (
        "Drag to zoom, Shift and drag to move, double click to show all. By keyboard: arrows read the values, + and "
        "− zoom, Shift and arrows move, 0 shows all.",
        "ドラッグで拡大、Shift を押しながらドラッグで移動、ダブルクリックで全体表示。キーボードでは、矢印キーで値を読"
        "み、+ と − で拡大・縮小、Shift と矢印キーで移動、0 で全体を表示します。"),
    "chart.none": ("The curve begins with the first step.", "最初のステップからグラフが始まります。"),
    "chart.at_step": ("Step {step}", "ステップ {step}"),
    "chart.raw": ("Loss", "損失"),
    "chart.smoothed": ("Smoothed", "平滑化"),
    "chart.validation_raw": ("Validation, raw", "検証、raw"),
    "chart.validation_ema": ("Validation, EMA", "検証、EMA"),
    "chart.lr": ("Learning rate", "学習率"),
    "chart.grad_norm": ("Gradient norm", "勾配ノルム"),
    "chart.csv": ("CSV", "CSV"),
    "chart.png": ("PNG", "PNG"),
    "chart.alt": (
        "Loss chart: step {step} of {total}, loss {loss}, smoothed {smooth}, learning rate {lr}.",
        "損失のグラフ：ステップ {step} / {total}、損失 {loss}、平滑化 {smooth}、学習率 {lr}。"),
    "chart.alt_none": ("Loss chart: no steps yet.", "損失のグラフ：まだステップがありません。"),
    "chart.lr_alt": ("Learning rate chart: {lr} at step {step}.", "学習率のグラフ：ステップ {step} で {lr}。"),
    "chart.grad_alt": (
        "Gradient norm chart: {value} at step {step}.",
        "勾配ノルムのグラフ：ステップ {step} で {value}。"),

    "compare.button": ("Compare runs", "実行を比較"),
    "compare.title": ("Compare with other runs", "ほかの実行と比較"),
    "compare.help": (
        "Up to five runs are drawn beside this one, each with its own colour and dashes.",
        "最大 5 件の実行を、それぞれ別の色と線種で重ねて表示します。"),
    "compare.none": ("There is no other run with steps yet.", "ステップのあるほかの実行はまだありません。"),
    "compare.show": ("Show them", "表示"),
    "compare.facts": ("{steps} steps, loss {loss}, {when}", "{steps} ステップ、損失 {loss}、{when}"),

    "samples.title": ("Sample pictures", "サンプル画像"),
    "samples.none": (
        "The first pictures are drawn before the first step, so that you can see what changes.",
        "何が変わるか見えるように、最初のステップの前にも生成されます。"),
    "samples.ema": ("EMA", "EMA"),
    "samples.raw": ("Raw", "Raw"),
    "samples.weights": ("Weights", "重み"),
    "samples.step": ("Step {step}", "ステップ {step}"),
    "samples.before": ("Before", "学習前"),
    "samples.alt": (
        "Sample at step {step}, {weights} weights: {prompt}",
        "ステップ {step} のサンプル、{weights} の重み：{prompt}"),
    "samples.alt_before": ("Before training, {weights} weights: {prompt}", "学習前、{weights} の重み：{prompt}"),
    "samples.open": ("{picture}. Open full screen", "{picture}。全画面で開く"),
    "samples.mode": ("Order", "並べ方"),
    "samples.grid": ("Grid", "一覧"),
    "samples.time": ("Through time", "時間順"),
    "samples.compare": ("Compare with before training", "学習前と比較"),
    "samples.seed": ("Seed {seed}", "シード {seed}"),
    "samples.guidance": ("guidance {value}", "ガイダンス {value}"),
    "samples.steps": ("{value} drawing steps", "生成 {value} ステップ"),
    "samples.previous": ("Previous picture", "前の画像"),
    "samples.next": ("Next picture", "次の画像"),
    "samples.try": ("Try this prompt and seed", "このプロンプトとシードで試す"),
    "samples.download": ("Download the picture", "画像をダウンロード"),
}
