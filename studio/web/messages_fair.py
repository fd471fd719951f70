"""Rows of the table of messages: what people share on one server, and who looks after it."""

from __future__ import annotations

ROWS: tuple[tuple[str, ...], ...] = (
    ("Paused for others: it goes on by itself when its turn comes.",
     "ほかの人のために一時停止しました。順番が来ると自動的に続きます。"),
    ("Paused for others: it goes on by itself, place {number} in the queue.",
     "ほかの人のために一時停止しました。自動的に続きます（順番待ち {number} 番目）。"),
    ("all its steps are made, so it finishes", "すべてのステップが済んでいるので、このまま完了します。"),
    ("Wait, or cancel it.", "そのまま待つか、キャンセルしてください。"),
    ("It had its turn and others wait, so it was ended: what it has made so far is kept.",
     "順番の時間を使い終え、ほかの人が待っているため終了しました。ここまでの結果は残っています。"),
    ("Start it again for the rest.", "残りを行うには、もう一度開始してください。"),
    ("Only an administrator of this studio may do this.", "これはこのスタジオの管理者だけが行えます。"),
    ("Ask the person who runs it.", "運営者に頼んでください。"),
    ("several machines would open a port of this server, which others use too, to the network: set 1, or train on "
     "machines of your own",
     "複数のマシンを使うと、ほかの人も使うこのサーバーのポートがネットワークに開かれます。1 にするか、自分のマシンで学"
     "習してくださ"
     "い。"),
    ("A run of several machines would open a port of this server to the network.",
     "複数のマシンを使う実行は、このサーバーのポートをネットワークに開くことになります。"),
    ("Branch it with compute.num_machines 1, or train it on machines of your own.",
     "compute.num_machines を 1 にして分岐するか、自分のマシンで学習してください。"),
    ("{threads} threads are more than the {cores} cores of this machine, which others use too: set at most {most}, or "
     "leave it empty",
     "{threads} スレッドは、ほかの人も使うこのマシンの {cores} コアより多すぎます。{most} 以下にするか、空欄にしてく"
     "ださい。"),
    ("{threads} threads that read ahead are more than the {cores} cores of this machine, which others use too: set at "
     "most {most}",
     "先読みの {threads} スレッドは、ほかの人も使うこのマシンの {cores} コアより多すぎます。{most} 以下にしてくださ"
     "い。"),
    ("threads that spin take the cores from the others on this machine: set `sleep`",
     "スピンするスレッドは、このマシンを使うほかの人からコアを奪います。`sleep` にしてください。"),
    ("{name} cannot be used here: {why!}", "{name} はここでは使えません。{why}"),
    ("it would write into the account of whoever runs this server: leave it out",
     "このサーバーの運営者のアカウントに書き込むことになります。外してください。"),
    ("it opens a port of this server: leave it out, or take `tensorboard`",
     "このサーバーのポートを開きます。外すか、`tensorboard` を使ってください。"),
    ("this run would draw {count} sample pictures, and at most {most} are drawn here: draw less often, or with fewer "
     "prompts",
     "この実行ではサンプル画像が {count} 枚生成されますが、ここでは {most} 枚までです。間隔を広げるか、プロンプトを減"
     "らしてくださ"
     "い。"),
    ("the encodings of {count} pictures would take {size} GB, and the cache, which all runs here share, has {limit} "
     "GB: take fewer pictures (data.max_samples), fewer crop variants, or a lower resolution",
     "{count} 枚の画像のエンコードは {size} GB になりますが、すべての実行で共有するキャッシュは {limit} GB です。画像"
     "（data.max_samples）か切り抜きの数を減らすか、解像度を下げてください。"),
    ("a batch of {batch} pictures of {side} px takes at least {size} GB of memory, and {where?} has {memory} GB for "
     "all: set at most {most}, and gradient accumulation for the same effect",
     "{side} px の画像 {batch} 枚のバッチには少なくとも {size} GB のメモリが必要ですが、{where} には全部で {memory} GB"
     " しかあり"
     "ません。{most} 以下にし、同じ効果を得るには勾配累積を使ってください。"),
    ("Your things take {used} of the {limit} that you may keep here, and this needs {size} more.",
     "あなたのデータは、ここに置ける {limit} のうち {used} を使っていて、これにはさらに {size} が必要です。"),
    ("Your things take {used} of the {limit} that you may keep here: there is no room for more.",
     "あなたのデータは、ここに置ける {limit} のうち {used} を使っていて、空きがありません。"),
    ("Delete runs or data sets that you do not need any more; what lies in the trash does not count.",
     "不要な実行やデータセットを削除してください。ゴミ箱にあるものは数えません。"),
    ("{what!} Keep fewer checkpoints, or delete something.",
     "{what}。残すチェックポイントを減らすか、何かを削除してください。"),
    ("Your things take {used}, and you may keep {limit} here.",
     "あなたのデータは {used} を使っていますが、ここに置けるのは {limit} までです。"),
    ("Delete runs or data sets that you do not need any more, then go on.",
     "不要な実行やデータセットを削除してから、続けてください。"),
    ("Your things take {used}, and you may keep {limit} here. Delete runs or data sets that you do not need any more, "
     "then go on.",
     "あなたのデータは {used} を使っていますが、ここに置けるのは {limit} までです。不要な実行やデータセットを削除して"
     "から、続けてく"
     "ださい。"),
    ("Your things take {used}, and you may keep {limit} here. Nothing of this import was kept: delete something, then "
     "import it again.",
     "あなたのデータは {used} を使っていますが、ここに置けるのは {limit} までです。この取り込みは何も残していません。"
     "何かを削除して"
     "から、もう一度取り込んでください。"),
    ("{count} requests wait for this run's next step already.",
     "この実行の次のステップを待っている操作が、すでに {count} 件あります。"),
    ("Wait until it has answered them.", "それらが済むまでお待ちください。"),
    ("This run has {count} sample pictures, and {most} are drawn at most.",
     "この実行にはサンプル画像が {count} 枚あり、上限は {most} 枚です。"),
    ("Draw with a checkpoint in the playground.", "プレイグラウンドでチェックポイントを使って生成してください。"),
    ("These pictures take more than the {room} that are left of the {limit} that you may keep here. Nothing of this "
     "import was kept: delete something, then import it again.",
     "これらの画像は、ここに置ける {limit} の残り {room} に収まりません。この取り込みの内容は残っていません。"
     "何かを削除してから、もう一度取り込んでください。"),
    ("This run was changed {count} times, with {size} kB of settings: a run may have {most} changes and {room} kB of "
     "them here.",
     "この実行は {count} 回変更され、設定は {size} kB になっています。ここで 1 つの実行にできる変更は {most} 回、"
     "{room} kB までです。"),
    ("Start a new run with the settings as they are now.", "今の設定で新しい実行を始めてください。"),
    ("This run has as many votes as are kept here.", "この実行の投票は、ここに残せる上限に達しています。"),
    ("Vote on a drawing of another run.", "別の実行の画像に投票してください。"),
    ("A preset may have {most} kB here, and this one has {size} kB.",
     "プリセットはここでは {most} kB までですが、これは {size} kB あります。"),
    ("Shorten its texts.", "文章を短くしてください。"),
    ("You have {there} runs waiting, and {most} may wait at once.",
     "待っている実行が {there} 件あります。同時に待てるのは {most} 件までです。"),
    ("Wait until one of them begins, or cancel one: the page Runs lists them.",
     "どれかが始まるまで待つか、キャンセルしてください。「実行一覧」のページに並んでいます。"),
    ("You have {there} jobs waiting, and {most} may wait at once.",
     "待っているジョブが {there} 件あります。同時に待てるのは {most} 件までです。"),
    ("Wait until one of them begins, or cancel one.", "どれかが始まるまで待つか、キャンセルしてください。"),
    ("You have {there} imports under way, and {most} may be at once.",
     "取り込みが {there} 件進行中です。同時に行えるのは {most} 件までです。"),
    ("Wait until one of them has ended, or cancel one: the page Datasets lists them.",
     "どれかが終わるまで待つか、キャンセルしてください。「データセット」のページに並んでいます。"),
    ("You have {there} data sets that wait for their files, and {most} may at once.",
     "ファイルを待っているデータセットが {there} 件あります。同時に待てるのは {most} 件までです。"),
    ("Import their files, or delete one of them.", "ファイルを取り込むか、どれかを削除してください。"),
    ("You have {there} runs, and {most} may be kept.",
     "実行が {there} 件あります。置いておけるのは {most} 件までです。"),
    ("Delete runs that you do not need any more.", "不要な実行を削除してください。"),
    ("You have {there} data sets, and {most} may be kept.",
     "データセットが {there} 件あります。置いておけるのは {most} 件までです。"),
    ("Delete data sets that you do not need any more.", "不要なデータセットを削除してください。"),
    ("Either `ids` or `everybody` says what is to go.", "消すものは `ids` か `everybody` のどちらかで指定します。"),
    ("Leave one of them out.", "どちらか一方を外してください。"),
)
