"""How likely a text is in the languages that captions are written in: what its encoding is recognised by.

A language is its letters, the most frequent first, and for Chinese, Japanese and Korean also the levels of the national
standards, which hold characters by how common they are. Nothing but frequencies: no word list, no model to fetch.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from itertools import filterfalse

ENGLISH = "etaoinshrdlcumwfgypbvkjxqz"
FRENCH = "esaitnrulodcpmévqfbghjàxyèêzwçkùîôâœëïü"
GERMAN = "enisratdhulcgmobwfkzpüväßjöyxqé"
SPANISH = "eaosrnidlctumpbgvyqóíhfzjáéñxúwkü"
PORTUGUESE = "aeosrindmutclpvgãhqçbfáíéózjêxõúâkwôày"
NORDIC = "eantrsildomgkvhfupåäbøcöyjæéíáðúxwóýþzq"
ITALIAN = "eaionlrtscdupmvghfbqzèàòùìéjkxyw"
POLISH = "iaeoznwcrystdmkpłlujębgążóśhćfńźvqx"
CZECH = "oeantivlsrkdpímuátjycěbhzřýžéčšůfgúňxťóďľĺôŕwq"
HUNGARIAN = "eatlsnkizroágémdvbypjhóőfuöcíüúűwxq"
ROMANIAN = "eaintrlusocdpmăgfvbșțîzhâjşţxkyqw"
CROATIAN = "aioenrstjukvdmplgzbčšhcžćđfwxyq"
BALTIC = "aisteunrokmldpvgjbāēšėžzyųūčīąļęįņķfhcģōõäöüwxq"
TURKISH = "aeinrlıkdmyutsobüşzgçğhvcöpfjâîûxqw"
VIETNAMESE = "nhitcgaoulmrbvpyskdexqđáàảãạăắằẳẵặâấầẩẫậéèẻẽẹêếềểễệíìỉĩịóòỏõọôốồổỗộơớờởỡợúùủũụưứừửữựýỳỷỹỵ"
CYRILLIC = "оаеинтсрвлкмдпуяыьгзбчйхжшюцщэфіїєґъёўјљњћџђ"
GREEK = "αοιετσνηυρπκμλςωάόίγθδέήφχώύβξζψϊϋΐΰ"
HEBREW = "יוהלאתרבשמנםכדחפקעגזצטסןףךץ"
ARABIC = "اليمونرتبةعدسفهكقحجشطصخأىذزضغثءآئؤإظپچژگـ"
THAI = "านรกเงอมยลวดทสตะปพบคแใไขจหชธถโศซณผฟภฉฝฮฐษญฎฏฆฬฌฤ" + "".join(map(chr, (
    0xE48, 0xE49, 0xE34, 0xE35, 0xE31, 0xE37, 0xE38, 0xE39, 0xE47, 0xE4C, 0xE36, 0xE33, 0xE4A, 0xE4B, 0xE2F, 0xE46)))
KANA = ("のにはをたがでてとしれさるいなかもらっくすきこまりうあそどだけせおんよつみやえわちごめじびべばげずろ"
        "へひぬねむほゆざぐぞづぜ")
KATAKANA = ("ンスートルラリアイクレシドプロフジタコマバテサッカデグメブムナキチオパニウビセエポハミネゴダツソモケ"
            "ホノボベヘョュャィェォァワザガギゼペピヒゾヌヤユヨワヲヴ")
KANJI = """日一国会人年大十二本中長出三同時政事自行社見月分後前民生間上部東者地合市内方四定新場金員入立開手力学高代明実
円子動京全目表通外最言現理体化田当八六主題下意法不来作性的要用気小七成公野取都和平山家話世多正安記院女初北心界第産点教
書活先名川向面文重近千考画海利知道集在別物使求所次水半品計死感特情変打男私始島直朝式村西台広住無再位置真流格有口放町校
料工語球空土急止送可木身付切食比車夫何南石足神番室店想線率病声待象銀早映親葉義形景落好英頭低仕去姿味失門写守若種美影命
福松白深字夜音申様港注呼赤青黒緑黄色絵具光花草木林森雪雨雲風火炎星空犬猫狐鳥魚馬顔目髪服着帽靴笑立座寝走窓机椅橋城寺桜
庭街路少老古描油彩肖像描背景猟船乗員茶桃紫灰金髪輪郭線画塗顔笑顔"""
HANZI = """的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后
多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些
然前外天政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系
很情者最立代想已通并提直题程展五果料象员位入常文总次品式活设及特件长求老头基资边流路级少图山统接知较将组见计别她手角期
根论运指几九区强放决西被做必先回则任取据处南给色光门即保北造百规热领七海口东导器世金思交受什认六共收改清己美再转更单风
切打白教速花带安场身车例真具万每目走示声报完类八离华名确才科张信马节话米整空元今集温传土步群广石记段界拉林叫且观织装影
算低持音书布复容儿非连断深难近千周素技半办青列习约支史感便团往市何除消构太精值号维选标写存毛亲快效查型眼王按格养易置层
片始却专状育京识适圆包火住调满局照参红细引听该铁只隻狐狸雪猫狗鸟鱼女孩男裙穿站坐睡草原蓝云黄绿黑灰紫粉画彩油像肖夜城街
霓灯霞虹庙盛樱桌苹葡萄船窗台觉张晚衣帽笑发背景树森湖河桥房屋"""
TRADITIONAL = """的一是在不了有和人這中大為上個國我以要他時來用們生到作地於出就分對成會可主發年動同工也能下過子說產種面
而方後多定行學法所民得經十三之進著等部度家電力裡如水化高自二理起小物現實加量都兩體制機當使點從業本去把性好應開它合還因
由其些然前外天政四日那社義事平形相全表間樣與關各重新線內數正心反你明看原又麼利比或但質氣第向道命此變條只沒結解問意建月
公無系很情者最立代想已通並提直題程展五果料象員位入常文總次品式活設及特件長求老頭基資邊流路級少圖山統接知較將組見計別她
手角期根論運指幾九區強放決西被做必先回則任取據處南給色光門即保北造百規熱領七海口東導器世金思交受什認六共收改清己美再轉
更單風切打白教速花帶安場身車例真具萬每目走示聲報完類八離華名確才科張信馬節話米整空元今集溫傳土步群廣石記段界拉林叫且觀
織裝影算低持音書布復容兒非連斷深難近千周素技半辦青列習約支史感便團往市何除消構太精值號維選標寫存毛親快效查型眼王按格養
易置層片始卻專狀育京識適圓包火住調滿局照參紅細引聽該鐵隻狐狸雪貓狗鳥魚女孩男裙穿站坐睡草原藍雲黃綠黑灰紫粉畫彩油像肖夜
城街霓燈霞虹廟盛櫻桌蘋葡萄船窗台覺晚衣帽笑髮背景樹森湖河橋房屋裡"""
HANGUL = """이다는에을의하가고지로사기를은자도한시인대리어나서라정아부해수일상장전제구보스만여주동게과들그안있것거선원
유비조적성연국관무음신문요생치화공터물경와오교세당방식회우건소달마발입용날내산학미더간면모야말진중속두양반드레페트진출
름위아래빛색빨간파란하얀검은붉푸른노란녹흰눈여우고양강개새꽃나무숲바닷가늘구름소녀년남자창밤거리책상과포도사진그림수채
초벚절늙선원서울네온옷입머리카락웃배경집"""
_CHINESE = "，。、！？：；（）“”《》　…—·"
PUNCTUATION = {"zh": _CHINESE, "tw": _CHINESE, "ja": "、。「」・！？（）　『』〜ー…", "ko": "，。、！？"}
GENERAL = "“”‘’–—…«»°×€£©®™½·•¿¡„"
DIGIT, SPACE, MARK = 1 / 300, 1 / 8, 1 / 400
FOREIGN = "éèüöäñçáíóàôâêïåøãõú"  # what English borrows
FALL = 0.115  # of a language of Latin letters: how much rarer each letter is than the one before it
NEVER, ODD, STRANGE = 1e-10, 1e-7, 3e-6  # a control character; one of another script; a rare one of this script
CAPITAL = 0.15  # how much rarer a capital is
# How likely two characters beside each other are: letters of two scripts in a word and in two words, a capital after a
# small letter, a letter beside a digit or behind a sign, and a Latin one beside an Asian one.
IN_WORD, BETWEEN_WORDS, INNER_CAPITAL, BESIDE_DIGIT, BESIDE_SIGN = 0.01, 0.15, 0.02, 0.2, 0.2
WITH_CAPITAL, WITH_SMALL = 0.3, 0.1
SIGNS = "…°™„×½·•€£©®†‡¤¦§¨¯±¸¹²³¼¾ˆ˜‚"

WESTERN = {"en": ENGLISH, "fr": FRENCH, "de": GERMAN, "es": SPANISH, "pt": PORTUGUESE, "sv": NORDIC, "it": ITALIAN}
CENTRAL = {"pl": POLISH, "cs": CZECH, "hu": HUNGARIAN, "ro": ROMANIAN, "hr": CROATIAN}
_LATIN = {**WESTERN, **CENTRAL, "baltic": BALTIC, "tr": TURKISH, "vi": VIETNAMESE}
_LETTERS = {**_LATIN, "cyrillic": CYRILLIC, "greek": GREEK, "hebrew": HEBREW, "arabic": ARABIC, "thai": THAI}
LANGUAGES = (*_LETTERS, "ja", "zh", "tw", "ko")
# Of an Asian language: letters by frequency, and the shares of the text that these and the levels below them are.
_ASIAN = {
    "ja": ((KANA, 0.42), (KATAKANA, 0.18), (KANJI, 0.2)), "zh": ((HANZI, 0.6),), "tw": ((TRADITIONAL, 0.6),),
    "ko": ((HANGUL, 0.7),)}
_LEVELS = {  # codec, first bytes, share of the text, how many there are
    "ja": (("shift_jis", 0x88, 0x97, 0.13, 2965), ("shift_jis", 0x98, 0xEA, 0.004, 3390)),
    "zh": (("gb2312", 0xB0, 0xD7, 0.28, 3755), ("gb2312", 0xD8, 0xF7, 0.02, 3008)),
    "tw": (("big5", 0xA4, 0xC6, 0.28, 5401), ("big5", 0xC9, 0xF9, 0.02, 7652)),
    "ko": (("euc_kr", 0xB0, 0xC8, 0.25, 2350),)}


def likelihood(text: str, language: str) -> float:
    """The logarithm of how likely a text is in a language; comparable between readings of the same bytes."""
    table = _table(language)
    total = 0.0
    before = " "
    for c in text:
        total += table.get(c) or _rare(c, language)
        total += _beside(before, c)
        before = c
    return total + _between_words(text)


@cache
def _table(language: str) -> dict[str, float]:
    """The logarithm of the frequency of each usual character."""
    shares = dict.fromkeys(map(chr, range(0x20, 0x7F)), MARK) | dict.fromkeys("0123456789", DIGIT)
    shares |= {" ": SPACE, "\r": MARK, "\n": MARK, "\t": MARK}
    letters = _LETTERS.get(language, "")
    is_latin = language in _LATIN
    if is_latin:
        shares |= _with_capitals(_falling(letters, 0.75))
    else:
        shares |= _with_capitals(_falling(ENGLISH, 0.75))
        shares |= _with_capitals(_shares(letters, 0.9))
    if language == "en":
        shares |= _with_capitals(_shares(FOREIGN, 0.004))
    for usual, share in _ASIAN.get(language, ()):
        shares |= _shares("".join(usual.split()), share)
    marks = PUNCTUATION.get(language, "")
    for mark in marks:
        shares.setdefault(mark, 0.05 / len(marks))
    if is_latin or language in ("cyrillic", "greek"):
        for mark in GENERAL:
            shares.setdefault(mark, 1 / 4000)
        shares["’"] = 1 / 400
    return {c: math.log(share) for c, share in shares.items()}


def _falling(usual: str, share: float) -> dict[str, float]:
    """Each letter's part of `share`, rarer by FALL from place to place."""
    return _parts(usual, share, lambda place: math.exp(-FALL * place))


def _shares(usual: str, share: float) -> dict[str, float]:
    """Each letter's part of `share`, by one over its place, as in languages of many characters."""
    return _parts(usual, share, lambda place: 1 / (place + 6))


def _parts(usual: str, share: float, weigh: Callable[[int], float]) -> dict[str, float]:
    """Each letter's part of `share`, by the weight of its place."""
    letters = dict.fromkeys(usual)
    weights = list(map(weigh, range(len(letters))))
    total = sum(weights)
    return {c: share * weight / total for c, weight in zip(letters, weights, strict=True)}


def _with_capitals(shares: dict[str, float]) -> dict[str, float]:
    """The letters, and each one's capital where it has one."""
    capitals = {c.upper(): share * CAPITAL for c, share in shares.items() if len(c.upper()) == 1}
    return capitals | shares  # a letter that has none is its own capital


@lru_cache(maxsize=1 << 15)
def _rare(c: str, language: str) -> float:
    """The logarithm of the frequency of a character that is none of the usual ones."""
    for codec, low, high, share, count in _LEVELS.get(language, ()):
        if low <= _first_byte(c, codec) <= high:
            return math.log(share / count)
    if unicodedata.category(c) in ("Cc", "Co", "Cn", "Cs") or c == "\ufffd":
        return math.log(NEVER)
    if _is_of_script(c, language) and "HALFWIDTH" not in unicodedata.name(c, ""):
        return math.log(STRANGE)
    return math.log(ODD)


def _is_of_script(c: str, language: str) -> bool:
    """Whether a character belongs to the script that a language is written in."""
    if language in _ASIAN:
        return unicodedata.category(c) == "Lo" and _script(c) in ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
    return _script(c) == _script(_LETTERS[language][0])


def _first_byte(c: str, codec: str) -> int:
    try:
        coded = c.encode(codec)
    except UnicodeEncodeError:
        return 0
    if len(coded) != 2:
        return 0
    return coded[0]


@lru_cache(maxsize=1 << 16)
def _beside(before: str, c: str) -> float:
    """What two characters beside each other add: words are of one script, and capitals stand at their beginning."""
    if before.isascii() and c.isascii():
        return 0.0
    if not _in_words(before) or not _in_words(c):
        return math.log(BESIDE_SIGN) if before in SIGNS and c.islower() else 0.0
    return _beside_in_word(before, c)


def _beside_in_word(before: str, c: str) -> float:
    """`_beside` for two letters or digits, not both of ASCII."""
    scripts = {_script(before), _script(c)}
    if before.isdigit() or c.isdigit():
        return 0.0 if scripts & _FREE else math.log(BESIDE_DIGIT)
    if len(scripts) == 1:
        return math.log(INNER_CAPITAL) if before.islower() and c.isupper() else 0.0
    if scripts <= _FREE:
        return 0.0
    if not scripts & _FREE:
        return math.log(IN_WORD)
    if before.islower() or c.islower():  # one is Asian, the other mostly Latin
        return math.log(WITH_SMALL)
    return math.log(WITH_CAPITAL)


def _in_words(c: str) -> bool:
    return c.isalnum() or unicodedata.category(c)[0] == "M"


def _between_words(text: str) -> float:
    """What the scripts of its words add: a text keeps to one."""
    scripts = list(filter(None, map(_script_of, text.split())))
    return sum(map(operator.ne, scripts, scripts[1:])) * math.log(BETWEEN_WORDS)


def _script_of(word: str) -> str:
    """The script of a word: of its first letter beyond ASCII, else of its first letter; "" for one without letters."""
    letters = list(filter(str.isalpha, word))
    if not letters:
        return ""
    return _script(next(filterfalse(str.isascii, letters), letters[0]))


_FREE = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA", "FULLWIDTH", "KATAKANA-HIRAGANA", "?"}  # they mix within words


@lru_cache(maxsize=1 << 15)
def _script(c: str) -> str:
    """The script a character belongs to: the first word of its name."""
    if c.isdigit():
        return "?"
    return unicodedata.name(c, "?").split()[0]
