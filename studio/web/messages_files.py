"""The rows of `messages.py` about people's files: words that did not arrive, names with a meaning, pasted commands."""

from __future__ import annotations

ROWS: tuple[tuple[str, ...], ...] = (
    # the headline of an import
    ("{bare} of {pictures?} came without words. {rest!}", "{pictures}のうち {bare} 枚に言葉がありません。{rest}。"),
    ("{file} names {number} of the pictures, and none of its columns is known to hold captions ({names} were looked "
     "for): "
     "it has {columns}. Name the column.",
     "{file} は {number} 枚の画像を挙げていますが、キャプションの列が分かりません（探した名前：{names}）。列は"
     " {columns} です。どの列か指定してください。"),
    ("{file} names none of the pictures: it has {columns}, and a column of their file names was looked for.",
     "{file} はどの画像も挙げていません。画像のファイル名の列を探しましたが、列は {columns} です。"),
    ("{file} has pictures, and none of its columns is known to hold captions ({names} were looked for): it has "
     "{columns}. "
     "Name the column.",
     "{file} に画像はありますが、キャプションの列が分かりません（探した名前：{names}）。列は {columns} です。"
     "どの列か指定してください。"),
    ("{files?} beside pictures, such as {file}, have none of {names}: there is {columns}. Name the one to take.",
     "画像の横の{files}（{file} など）に {names} のどれもありません。あるのは {columns} です。"
     "使うものを指定してください。"),
    ("{files?} to no picture: {names}. A caption file is named like its picture, as in cat.png and cat.txt.",
     "{files}：{names}。キャプションファイルは cat.png と cat.txt のように、画像と同じ名前にしてください。"),
    ("Nothing could be taken from {names}: {why!}.", "{names} からは何も取れませんでした：{why}。"),
    ("1 caption file belongs", "画像のないキャプションファイルが 1 個あります"),
    ("{count} caption files belong", "画像のないキャプションファイルが {count} 個あります"),
    ("{count} JSON files", "JSON ファイル {count} 個"),
    ("{pictures?} without words in folders such as {folder}, whose name {name} kohya's trainer takes as their caption: "
     "choose the folder's name for it.",
     "{folder} のようなフォルダーの{pictures}に言葉がありません。kohya のトレーナーではフォルダー名の {name} が"
     "キャプションになります。フォルダー名を使うように選んでください。"),
    ("No table here has a column {name}; there are: {columns}.",
     "列 {name} のある表はありません。列は次のとおりです：{columns}。"),
    # notes of an import
    ("{file}: captions were taken from the column {name}.", "{file}：キャプションは列 {name} から取りました。"),
    ("{file}: words of other columns were not taken: {names}.", "{file}：ほかの列の言葉は使っていません：{names}。"),
    ("{file}: pictures of other columns were not taken: {names}.", "{file}：ほかの列の画像は使っていません：{names}。"),
    ("JSON files beside pictures: captions were taken from {names}.",
     "画像の横の JSON ファイル：キャプションは {names} から取りました。"),
    ("JSON files beside pictures: words of other columns were not taken: {names}.",
     "画像の横の JSON ファイル：ほかの列の言葉は使っていません：{names}。"),
    ("{pictures?} of the folder {folder} trained on: call it test or validation to hold them out.",
     "フォルダー {folder} の{pictures}は学習に使います。取り置くには、フォルダー名を test か validation "
     "にしてください。"),
    ("Pictures are named like splits ({counts}) and are all trained on: put them into folders train, test or "
     "validation "
     "to part them.",
     "分割のような名前の画像があります（{counts}）。すべて学習に使います。分けるには、train、test、validation の"
     "フォルダーに入れてください。"),
    ("{pictures?} of the folder {folder}, which other trainers take for regularisation: trained on like any other.",
     "フォルダー {folder} の{pictures}は、ほかのトレーナーでは正則化用です。ここでは普通に学習します。"),
    ("{number} captions are numbers alone, such as {what}: perhaps what another program notes of its pictures.",
     "{number} 個のキャプションは数字だけです（例：{what}）。ほかのプログラムの注釈かもしれません。"),
    ("{number} captions hold {what}, which other trainers fill in and this one learns as it stands: replace it.",
     "{number} 個のキャプションに {what} があります。ほかのトレーナーは置き換えますが、ここではそのまま学習します。"
     "書き換えてください。"),
    ("{pictures?} named like what others keep beside a picture ({one} beside {other}): trained on like any other; take "
     "out what is not meant to be.",
     "{pictures}の名前は、画像に添えるファイルのようです（{other} に添えた {one}）。普通に学習します。"
     "不要なものは除いて"
     "ください。"),
    ("{number} captions were changed by hand since the import and stay as they are.",
     "取り込みの後に手で変えたキャプション {number} 個は、そのまま残しました。"),
    # why a file is left out
    ("a mask or a picture that steers, as other trainers keep them ({whose}): not learnt from here",
     "ほかのトレーナーが使うマスクか制御用の画像です（{whose}）。ここでは学習に使いません。"),
    ("a mask or a picture that steers, as other trainers keep them: not learnt from here",
     "ほかのトレーナーが使うマスクか制御用の画像です。ここでは学習に使いません。"),
    ("nothing was taken from it: {why!}", "何も使えませんでした。{why}。"),
    ("{file} was taken instead", "代わりに {file} を使いました。"),
    ("it has none of {names}; it has: {columns}", "{names} のどれもありません。あるのは {columns} です。"),
    ("it holds no object", "オブジェクトがありません。"),
    ("it is not JSON", "JSON ではありません。"),
    ("its caption is neither text nor a list of texts", "キャプションが文字列でも文字列のリストでもありません。"),
    ("names no picture that came along; it has: {columns}",
     "取り込む画像を 1 枚も挙げていません。列は {columns} です。"),
    ("its column {names} says nothing of any picture", "列 {names} はどの画像についても何も書いていません。"),
    ("none of its columns is known to hold captions ({names}); it has: {columns}",
     "キャプションの列が分かりません（探した名前：{names}）。列は {columns} です。"),
    ("names {name}, which may be any of {number} pictures", "{name} に当てはまる画像が {number} 枚あります。"),
    ("names no pictures", "画像を挙げていません。"),
    ("is a report of an import", "取り込み結果の表です。"),
    ("holds the rows of a data set of a studio", "スタジオのデータセットの行です。"),
    ("settings of another program, which are not read here", "ほかのプログラムの設定です。ここでは読みません。"),
    ("EveryDream counts this folder's pictures so many times by it: name the folder 10_name for ten",
     "EveryDream がこのフォルダーの画像を数える回数です。10 回なら、フォルダー名を「10_名前」にしてください。"),
    ("EveryDream's caption dropout: set data.caption_dropout",
     "EveryDream のキャプションドロップアウトです。data.caption_dropout を設定してください。"),
    ("EveryDream's share of mirrored pictures: set data.random_flip",
     "EveryDream の左右反転の割合です。data.random_flip を設定してください。"),
    ("EveryDream's wish for shuffled tags: there is no such setting here",
     "EveryDream のタグのシャッフルです。ここにはその設定がありません。"),
    ("not a picture in a format that is read here (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, HEIC)",
     "読み込める形式の画像ではありません（JPEG、PNG、WebP、BMP、TIFF、GIF、AVIF、HEIC）。"),
    ("convert it to JPEG first", "先に JPEG に変換してください。"),
    ("fetch the files themselves by `git lfs pull`", "`git lfs pull` でファイル本体を取得してください。"),
    ("convert it to PNG first", "先に PNG に変換してください。"),
    ("export it as PNG first", "先に PNG で書き出してください。"),
    ("save its pages as PNG first", "先にページを PNG で保存してください。"),
    ("save frames of it as pictures", "フレームを画像として保存してください。"),
    ("save it as CSV", "CSV で保存してください。"),
    ("captions are read from .txt and .json files, CSV, JSON lines and parquet",
     "キャプションは .txt、.json、CSV、JSON Lines、parquet から読みます。"),
    # what was done
    ("first picture of several in a row taken", "行に複数ある画像のうち最初のものを使いました。"),
    ("repeats that is no whole number from 1 to {most}, left out", "1 から {most} の整数でない repeats を除きました。"),
    ("row with more cells than the header has: the rest was taken into its caption",
     "見出しよりセルが多い行です。余りはキャプションに入れました。"),
    ("split in a table that is none (train, validation, test), trained on",
     "表の分割名が train、validation、test のどれでもないため、学習に使います。"),
    ("settings of a program that draws, behind a caption: left out",
     "キャプションの後ろにあった生成プログラムの設定は除きました。"),
    ("name in a table that is a picture's only in part", "表の名前は画像の名前の一部だけでした。"),
    ("caption text has places that cannot be read in its encoding",
     "キャプションに、その文字コードでは読めない箇所があります。"),
    # what cannot be asked for
    ("There is no encoding {name}; there are: {names}.", "文字コード {name} はありません。選べるもの：{names}。"),
    ("{name} is no column's name: it has more than {most} characters.",
     "{name} は列の名前には長すぎます（{most} 文字まで）。"),
    ("The files of words of this data set are not kept.", "このデータセットのキャプションファイルは残っていません。"),
    ("Import it again to read them otherwise.", "別の読み方をするには、もう一度取り込んでください。"),
    ("The files of words of this data set are not kept: import it again to read them otherwise.",
     "このデータセットのキャプションファイルは残っていません。別の読み方をするには、もう一度取り込んでください。"),
    # changes to a run that has ended
    ("the run has made all of its {step} steps, and a change holds in further ones: set more too",
     "実行は {step} ステップをすべて終えています。変更はこの先のステップに効くので、ステップ数も増やしてください。"),
    ("there is no such setting; what may change on the way: {names}",
     "そのような設定はありません。途中で変えられるもの：{names}。"),
    # pasted commands
    ("the command cannot be read (a quote is not closed: {part}): check its quotes",
     "コマンドを読めません（引用符が閉じていません：{part}）。引用符を確かめてください。"),
    ("it takes no value, and this says neither yes nor no",
     "値を取らない項目です。はい・いいえのどちらでもありません。"),
    ("--{name} takes one value, and this is another", "--{name} の値は 1 つだけです。これは 2 つ目です。"),
    ("a comment, which no shell reads", "コメントです。シェルは読みません。"),
    ("where output goes: a run keeps its log in its own folder",
     "出力先です。実行のログはそのフォルダーに残ります。"),
    ("it looks like a place to fill in: put in what is meant", "書き込む場所のようです。実際の値を入れてください。"),
)
WORDS: tuple[tuple[str, ...], ...] = (
    ("1 JSON file", "JSON ファイル 1 個"), ("nothing", "なし"), ("the tables", "表"),
    ("Git LFS pointer", "Git LFS のポインター"),
    ("JPEG XL", "JPEG XL "), ("JPEG 2000", "JPEG 2000 "), ("Photoshop", "フォトショップ"), ("GIMP", "GIMP "),
    ("Krita", "クリータ"), ("Clip Studio", "クリップスタジオ"), ("Procreate", "プロクリエイト"),
    ("Affinity", "アフィニティ"),
    ("Illustrator", "イラストレーター"), ("PostScript", "ポストスクリプト"), ("PDF", "PDF "), ("icon", "アイコン"),
    ("Targa", "ターガ"), ("film or game", "映画・ゲーム用"), ("bitmap of another kind", "別種のビットマップ"),
    ("document", "文書"), ("spreadsheet", "表計算"), ("shortcut", "ショートカット"))
