"""The rows of `messages.py` about settings: what is wrong with one, with two together, or with a pasted command."""

from __future__ import annotations

ROWS: tuple[tuple[str, ...], ...] = (
    # a setting by itself; what pydantic says comes first
    ("{message!}; allowed: {limits?} (given: {value})", "{message}。使える値：{limits}（入力：{value}）"),
    ("{message!}; allowed: {limits?}", "{message}。使える値：{limits}"),
    ("{message!} (given: {value})", "{message}（入力：{value}）"),
    ("{limits}, a multiple of {number}", "{limits}、{number} の倍数"),
    ("should be greater than or equal to {number}", "{number} 以上にしてください。"),
    ("should be greater than {number}", "{number} より大きくしてください。"),
    ("should be less than or equal to {number}", "{number} 以下にしてください。"),
    ("should be less than {number}", "{number} より小さくしてください。"),
    ("should be a multiple of {number}", "{number} の倍数にしてください。"),
    ("should be a valid integer", "整数にしてください。"),
    ("should be a valid integer, unable to parse string as an integer", "整数にしてください。"),
    ("should be a valid integer, got a number with a fractional part", "小数ではなく整数にしてください。"),
    ("unable to parse input string as an integer, exceeded maximum size", "数が大きすぎます。"),
    ("should be a valid number", "数値にしてください。"),
    ("should be a valid number, unable to parse string as a number", "数値にしてください。"),
    ("should be a finite number", "有限の数にしてください。"),
    ("should be a valid boolean", "true か false にしてください。"),
    ("should be a valid boolean, unable to interpret input", "true か false にしてください。"),
    ("should be a valid string", "文字列にしてください。"),
    ("should be a valid list", "リストにしてください。"),
    ("should be a valid dictionary", "オブジェクトにしてください。"),
    ("should be {choices}", "次のいずれかにしてください：{choices}"),
    ("must not be true or false", "true や false ではなく、数値などを入れてください。"),
    ("string should have at least {number} character", "{number} 文字以上にしてください。"),
    ("string should have at least {number} characters", "{number} 文字以上にしてください。"),
    ("string should have at most {number} characters", "{number} 文字以下にしてください。"),
    ("list should have at most {number} items after validation, not {given}",
     "項目は {number} 個までにしてください（いまは {given} 個）。"),
    ("string should match pattern {pattern}", "形式が違います（{pattern}）。"),
    ("field required", "値が必要です。"),
    ("set a value", "値を入れてください。"),
    ("unknown setting; there are: {names}", "そのような設定はありません。あるもの：{names}"),
    ("a section is an object of settings", "セクションは設定のオブジェクトにしてください。"),
    ("a config has at most {count} settings", "設定は {count} 個までです。"),
    ("a config is an object, not {kind}", "設定はオブジェクトにしてください（{kind} ではありません）。"),
    ("unknown schema {version}: this studio knows schemas 1 to {known}; update the studio to read a newer file",
     "スキーマ {version} は読めません。このスタジオで読めるのは 1〜{known} です。新しいファイルを読むにはスタジオを"
     "更新してください。"),
    ("this base suggests no value: set one", "このベースモデルには推奨値がありません。値を入れてください。"),
    ("it is never empty, so nothing can be suggested for it: leave it out",
     "この設定は空になることがなく、推奨値は使われません。取り除いてください。"),
    # settings together
    ("a step of {step} pixels is more than the resolution of {side}: set a smaller one, or turn the buckets off",
     "刻み {step} px が解像度 {side} px より大きくなっています。小さくするか、バケットをオフにしてください。"),
    ("the constant schedule has no warm-up: choose `constant_with_warmup`, or set 0 here",
     "constant スケジュールにウォームアップはありません。`constant_with_warmup` を選ぶか、ここを 0 にしてください。"),
    ("{warmup} warm-up steps leave nothing of a run of {steps} steps: set fewer",
     "{steps} ステップの実行でウォームアップが {warmup} ステップでは、学習が残りません。減らしてください。"),
    ("the polynomial schedule ends at 1e-7: set a higher rate",
     "polynomial スケジュールは 1e-7 で終わります。もっと大きな学習率にしてください。"),
    ("{processes} processes cannot be shared out evenly over {machines} machines: set a multiple of {multiple}",
     "{processes} プロセスは {machines} 台に均等に分けられません。{multiple} の倍数にしてください。"),
    ("several machines need the address at which the others reach this one: set its name or IP address",
     "複数台で学習するには、ほかのマシンからこのマシンに届くアドレスが必要です。名前か IP アドレスを入れてください。"),
    ("only DeepSpeed offloads the optimizer: set compute.deepspeed_stage to 1, 2 or 3, or `none` here",
     "オプティマイザーを退避できるのは DeepSpeed だけです。compute.deepspeed_stage を 1、2、3 のいずれかにするか、こ"
     "こを `none` にしてください。"),
    ("only ZeRO stage 3 offloads the weights: set compute.deepspeed_stage to 3, or `none` here",
     "重みを退避できるのは ZeRO ステージ 3 だけです。compute.deepspeed_stage を 3 にするか、ここを `none` にしてくだ"
     "さい。"),
    ("one process has nobody to share with: set compute.num_processes to 2 or more, or 0 here",
     "1 プロセスでは分け合う相手がいません。compute.num_processes を 2 以上にするか、ここを 0 にしてください。"),
    ("the state of {name} is not proven to survive being shared out: choose `adamw`, or set compute.deepspeed_stage "
     "to 0",
     "{name} の状態を分割しても正しく学習できるかは確認されていません。`adamw` を選ぶか、compute.deepspeed_stage を "
     "0 にしてください。"),
    ("DeepSpeed makes the updates itself: turn this off, or set compute.deepspeed_stage to 0",
     "更新は DeepSpeed 自身が行います。これをオフにするか、compute.deepspeed_stage を 0 にしてください。"),
    ("fp16 under DeepSpeed needs DeepSpeed's own loss scale, which is not proven here: choose `bf16` or `no`, or "
     "set compute.deepspeed_stage to 0",
     "DeepSpeed での fp16 には DeepSpeed 独自の損失スケールが要りますが、ここでは確認されていません。`bf16` か `no` "
     "を選ぶか、compute.deepspeed_stage を 0 にしてください。"),
    ("a text encoder that is shared out is not proven to learn the same: turn this off, or set "
     "compute.deepspeed_stage to 0",
     "テキストエンコーダーを分割しても同じように学習できるかは確認されていません。これをオフにするか、"
     "compute.deepspeed_stage を 0 にしてください。"),
    # the machine
    ("fp16 needs a GPU, and this machine has none: choose `no` or `bf16`, or leave it empty",
     "fp16 には GPU が必要ですが、このマシンにはありません。`no` か `bf16` を選ぶか、空欄にしてください。"),
    ("fp16 needs a GPU; choose bf16 or no", "fp16 には GPU が必要です。bf16 か no を選んでください。"),
    ("xformers needs the package xformers: pip install xformers, or choose `sdpa`",
     "xformers パッケージが必要です。pip install xformers で入れるか、`sdpa` を選んでください。"),
    ("xformers needs a GPU, and this machine has none, or choose `sdpa`",
     "xformers には GPU が必要ですが、このマシンにはありません。`sdpa` を選んでください。"),
    ("{processes} processes are more than this machine's {count} {what?}: set at most {limit} for each machine",
     "{processes} プロセスは、このマシンの{what}の数 {count} を超えています。1 台あたり {limit} 以下にしてください。"),
    ("DeepSpeed is not installed: `pip install deepspeed` adds it (Linux only), or set 0",
     "DeepSpeed がインストールされていません。`pip install deepspeed` で入れるか（Linux のみ）、0 にしてください。"),
    ("{package} is not installed here: add it by `pip install {same}` in the studio's environment, or leave it out",
     "{package} がインストールされていません。スタジオの環境で `pip install {same}` を実行するか、選択を外してくださ"
     "い。"),
    ("this needs at least {needed} of memory for the weights alone and {where?} has {memory}: choose a smaller base",
     "重みだけで少なくとも {needed} のメモリが必要ですが、{where}には {memory} しかありません。もっと小さなベースモ"
     "デルを選んでください。"),
    ("this needs at least {needed} of memory for the weights alone and {where?} has {memory}: choose a smaller "
     "base, or the method `lora`",
     "重みだけで少なくとも {needed} のメモリが必要ですが、{where}には {memory} しかありません。もっと小さなベースモ"
     "デルか、方式 `lora` を選んでください。"),
    ("memory may run out: the weights alone need {needed} of {memory}; keep the batch size and the resolution low",
     "メモリが足りなくなるかもしれません。重みだけで {memory} のうち {needed} を使います。バッチサイズと解像度は小さ"
     "めにしてください。"),
    ("{count} checkpoints need {needed} of disk and {free} are free: keep fewer, or delete old runs",
     "チェックポイント {count} 個にはディスクが {needed} 必要ですが、空きは {free} です。残す数を減らすか、古い実行"
     "を削除してください。"),
    # optimizers
    ("{reason!}, or turn this off", "{reason}。または、これをオフにしてください。"),
    ("{title} sizes its steps by all gradients together",
     "{title} はすべての勾配を合わせてステップの大きさを決めます。"),
    ("clipping needs the norm of all gradients: set optim.max_grad_norm 0",
     "クリッピングには全勾配のノルムが必要です。optim.max_grad_norm を 0 にしてください。"),
    ("accumulated gradients must be kept: set train.gradient_accumulation_steps 1",
     "累積する勾配は保持しておく必要があります。train.gradient_accumulation_steps を 1 にしてください。"),
    ("several processes must add their gradients up first: set compute.num_processes 1",
     "複数プロセスでは先に勾配を合計する必要があります。compute.num_processes を 1 にしてください。"),
    ("fp16 finds its loss scale by all gradients: set train.mixed_precision `bf16` or `no`",
     "fp16 は全勾配から損失スケールを求めます。train.mixed_precision を `bf16` か `no` にしてください。"),
    ("{title} needs a package that is not installed here: pip install {package}, or choose `adamw`",
     "{title} に必要なパッケージがインストールされていません。pip install {package} で入れるか、`adamw` を選んでくだ"
     "さい。"),
    ("Prodigy finds one learning rate for all weights: leave this empty",
     "Prodigy はすべての重みに共通の学習率を求めます。ここは空欄にしてください。"),
    ("Prodigy finds the learning rate by itself and scales what it finds by optim.learning_rate: leave that empty, "
     "or set 1, and leave optim.scale_lr off",
     "Prodigy は学習率を自分で求め、optim.learning_rate を掛けます。これを空欄か 1 にし、optim.scale_lr はオフのまま"
     "にしてください。"),
    ("schedule-free AdamW averages the weights itself, and what it draws and saves is that average: turn the EMA off",
     "schedule-free AdamW は自分で重みを平均し、生成と保存にもその平均を使います。EMA をオフにしてください。"),
    ("schedule-free AdamW takes the place of a schedule: choose `constant`, or `constant_with_warmup`",
     "schedule-free AdamW はスケジュールの代わりになるものです。`constant` か `constant_with_warmup` を選んでくださ"
     "い。"),
    ("schedule-free AdamW divides by beta 1: set 0.9",
     "schedule-free AdamW は beta 1 で割ります。0.9 にしてください。"),
    # a run that is prepared
    ("there is no Hugging Face token to do this with: sign in (`hf auth login`), or set HF_TOKEN to one that may "
     "write",
     "これに使う Hugging Face トークンがありません。サインインする（`hf auth login`）か、書き込み権限のあるトークン"
     "を HF_TOKEN に設定してください。"),
    ("a rented machine trains alone: set 1, or set compute.backend to `local`",
     "借りたマシンは 1 台で学習します。1 にするか、compute.backend を `local` にしてください。"),
    ("trackers write where the run trains, and a rented machine is gone afterwards: leave this empty, or set "
     "compute.backend to `local`",
     "トラッカーは学習する場所に書き込みますが、借りたマシンは後で消えます。空にするか、compute.backend を `local` "
     "にしてください。"),
    ("a run is branched from one of its checkpoints, and this one has none yet",
     "分岐はチェックポイントから行いますが、この実行にはまだありません。"),
    ("a run is branched from one of its checkpoints, and this one has no checkpoint {name}; there are: {names?}",
     "分岐はチェックポイントから行います。この実行に {name} はありません。あるもの：{names}"),
    ("a branch keeps what its checkpoint was made with: start a new run to change this",
     "分岐では、チェックポイントを作ったときの値のままです。変えるには新しい実行を始めてください。"),
    ("{name} is at step {step} already: set more steps than that",
     "{name} はすでにステップ {step} です。それより大きいステップ数にしてください。"),
    ("{base} cannot be read ({why}): check the folder's rights",
     "{base} を読み取れません（{why}）。フォルダーの権限を確認してください。"),
    ("there is no data set {name}: {advice?}", "データセット {name} はありません。{advice}。"),
    ("there is no data set {name}", "データセット {name} はありません。"),
    ("choose one of the list, or bring pictures in first", "一覧から選ぶか、先に画像を取り込んでください。"),
    ("one of the Hub is imported before a run learns from it: on the page Datasets, by `POST /api/datasets`, or by "
     "`python -m studio.datasets import hub:{name}` (`python -m studio.train` does so by itself)",
     "Hub のデータセットは、学習の前に取り込む必要があります。「データセット」ページ、`POST /api/datasets`、または "
     "`python -m studio.datasets import hub:{name}` で取り込んでください（`python -m studio.train` は自動で取り込み"
     "ます）。"),
    ("the data set {name} is not ready ({state?}): wait until it is there",
     "データセット {name} はまだ使えません（{state}）。終わるまでお待ちください。"),
    ("the data set {name} is not ready ({state?}): upload the pictures again",
     "データセット {name} は使えません（{state}）。画像をもう一度アップロードしてください。"),
    ("the data set {name} has no pictures to train on: add some",
     "データセット {name} には学習に使う画像がありません。追加してください。"),
    ("{bare} of {all} pictures have no caption: they are learnt without words",
     "画像 {all} 枚のうち {bare} 枚にキャプションがありません。言葉なしで学習します。"),
    ("{family} knows {names}", "{family} で使えるのは {names} です。"),
    ("{family} has no such layers; there are: {names?}", "{family} にそのような層はありません。あるもの：{names}"),
    ("none, so choose the method `full`", "なし（方式 `full` を選んでください）"),
    ("the base draws at {own} px: at {side} px it learns poorly",
     "このベースモデルは {own} px で生成します。{side} px ではうまく学習できません。"),
    ("one update asks for {window} pictures and the data set has {count}: each update sees all of them, and no more",
     "1 回の更新に {window} 枚を使う設定ですが、データセットには {count} 枚しかありません。毎回すべての画像を 1 度ず"
     "つ使います。"),
    ("DREAM has a formula for epsilon only, and this run learns {kind}: turn it off",
     "DREAM の式は epsilon 用だけで、この実行は {kind} を学習します。オフにしてください。"),
    ("at the last time the input is noise alone: a model that predicts the noise learns nothing there, and drawing "
     "would divide by zero: set objective.prediction_type `v_prediction`, or turn this off",
     "最後の時刻では入力がノイズだけになり、ノイズを予測するモデルはそこで何も学べず、生成では 0 で割ることになりま"
     "す。objective.prediction_type を `v_prediction` にするか、これをオフにしてください。"),
    ("SNR gamma gives the last time, which zero terminal SNR is about, no weight: set objective.snr_gamma 0",
     "SNR ガンマがあると、終端 SNR ゼロが狙う最後の時刻の重みが 0 になります。objective.snr_gamma を 0 にしてくださ"
     "い。"),
    ("the text encoders of {family} cannot be trained: turn it off",
     "{family} のテキストエンコーダーは学習できません。オフにしてください。"),
    ("a LoRA does not carry its prediction type: it draws well only where the base's scheduler is set to {kind} "
     "(the base's own is {own})",
     "LoRA には予測の種類が含まれません。ベースモデルのスケジューラーを {kind} にした環境でだけきれいに生成できます"
     "（ベースモデル自体は {own} です）。"),
    ("a LoRA does not carry its noise schedule: set rescale_betas_zero_snr and trailing timestep_spacing where it "
     "is used",
     "LoRA にはノイズスケジュールが含まれません。使う側で rescale_betas_zero_snr と timestep_spacing=trailing を設定"
     "してください。"),
    ("the base is not on this machine yet: its download and checkpoints need disk space that is not known before",
     "ベースモデルはまだこのマシンにありません。ダウンロードとチェックポイントに必要なディスク容量は、事前にはわかり"
     "ません。"),
    ("a check works in one process: check with 1, or start the run",
     "チェックは 1 プロセスで行います。1 にしてチェックするか、そのまま学習を開始してください。"),
    # changes on the way
    ("this is fixed once a run is made: branch the run to change it; what may change on the way: {names}",
     "実行を作った後は変えられません。変えるには分岐してください。途中で変えられるもの：{names}"),
    ("nothing would change: the settings are so already", "変わるところがありません。設定はすでにそのとおりです。"),
    ("the run is at step {step} already: set more steps than that, or stop it",
     "この実行はすでにステップ {step} です。それより大きいステップ数にするか、停止してください。"),
    ("changes are an object of sections", "変更はセクションのオブジェクトにしてください。"),
    # a pasted command
    ("this is no command of train_text_to_image.py or train_text_to_image_lora.py: paste the whole line, from "
     "`accelerate launch` or the script's name on",
     "train_text_to_image.py や train_text_to_image_lora.py のコマンドではありません。`accelerate launch` かスクリプ"
     "ト名から始まる行全体を貼り付けてください。"),
    ("{script} is another script: this reads train_text_to_image.py and train_text_to_image_lora.py",
     "{script} は別のスクリプトです。読めるのは train_text_to_image.py と train_text_to_image_lora.py です。"),
    ("it is longer than {length} characters", "{length} 文字を超えています。"),
    ("its variables make it longer than {length} characters", "変数を展開すると {length} 文字を超えます。"),
    ("the command cannot be read ({why}): check its quotes",
     "コマンドを読み取れません（{why}）。引用符を確認してください。"),
    ("this version has no such setting", "このバージョンにそのような設定はありません。"),
    ("the script has no such option", "スクリプトにそのようなオプションはありません。"),
    ("it is no number", "数値ではありません。"),
    ("it belongs to no option", "どのオプションの値でもありません。"),
    ("its value is missing", "値がありません。"),
    ("the command names no model: choose the base", "モデルが書かれていません。ベースモデルを選んでください。"),
    ("the command has no prompt to draw", "生成するプロンプトが書かれていません。"),
    ("the command uses this variable without saying what it is", "この変数の値がコマンドに書かれていません。"),
    ("the steps decide, as in the script", "スクリプトと同じく、ステップ数が優先されます。"),
    ("it leaves nothing of a run of {steps} steps", "{steps} ステップの実行では何も残りません"),
    ("the constant schedule has no warm-up, in the script neither",
     "constant スケジュールにウォームアップはありません（スクリプトでも同じです）。"),
    ("the studio starts accelerate with a config of its own for each run",
     "accelerate は、実行ごとの設定でスタジオが起動します。"),
    ("set it in the environment in which the studio starts", "スタジオを起動する環境で設定してください。"),
    ("there are: {names?}", "あるもの：{names}"),
    ("the studio keeps every run in a folder of its own", "実行ごとのフォルダーはスタジオが管理します。"),
    ("trackers write into the run's own folder `logs/`", "トラッカーは実行のフォルダー `logs/` に書き込みます。"),
    ("set HF_HOME to move the cache of downloads", "ダウンロードのキャッシュを移すには HF_HOME を設定してください。"),
    ("a token is never kept: sign in, set HF_TOKEN, or give it when you publish",
     "トークンは保存されません。サインインするか、HF_TOKEN を設定するか、公開するときに入力してください。"),
    ("the launcher numbers its processes by itself", "プロセスの番号は起動プログラムが付けます。"),
    ("a run goes on from its own newest checkpoint: Resume on its page; --resume-from in the shell names another",
     "実行は最新のチェックポイントから続きます。ページの「再開」を使ってください。シェルでは --resume-from で別のも"
     "のを指定できます。"),
    ("deprecated, and the script ends with an error when it is set: use the revision",
     "廃止されていて、指定するとスクリプトがエラーで終わります。リビジョンを使ってください。"),
    ("pictures are drawn every so many steps here: set sample.every_steps",
     "ここではステップごとに生成します。sample.every_steps を設定してください。"),
    ("the average is always updated that way", "平均は常にその方法で更新されます。"),
    ("there are {count} presets already: delete some first",
     "プリセットがすでに {count} 個あります。先にいくつか削除してください。"),
)
