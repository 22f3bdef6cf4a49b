"""Names of a text: capitalised words inside English sentences, and in Chinese titles 《》, places, people by their form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from synthgen.verifiers.text import inside, sentences

Kind = Literal["latin", "title", "place", "person"]

_CAPITAL = r"[A-ZÀ-Þ][A-Za-zÀ-ÿ’'\-]*[A-Za-zÀ-ÿ]"
_LATIN = re.compile(
    rf"{_CAPITAL}(?:[ \t](?:(?:van|von|de|da|del|der|la|al|bin|of the|of)[ \t])?{_CAPITAL}|[ \t][A-Z]\.)*"
)
_FIRST_WORD = re.compile(r"[\s\"'“”‘’(\[\-–—*#>]*")
# Capitalised for their kind, and no names of somebody: days and months are dates.
_COMMON = frozenset(
    [
        "i",
        "i'm",
        "i'll",
        "i've",
        "i'd",
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "dad",
        "mum",
        "mom",
        "daddy",
        "mummy",
        "grandma",
        "grandpa",
        "grandmother",
        "grandfather",
        "q",
        "a",
        "note",
        "ok",
        "okay",
        "yes",
        "no",
        "hello",
        "hi",
        "dear",
        "the",
        "led",
        "dna",
        "ceo",
        "faq",
        "pdf",
        "usa",
        "uk",
        "eu",
        "un",
        "mondays",
        "tuesdays",
        "wednesdays",
        "thursdays",
        "fridays",
        "saturdays",
        "sundays",
    ]
)
_SPEAKER = re.compile(r"[ \t]*[:：]|[ \t]*,?[ \t](?:asked|said|replied|laughed|smiled|answered|nodded|whispered)\b")
_SAID = re.compile(
    r"\b(?:asked|said|replied|laughed|smiled|answered|nodded|whispered|dear|love|hello|hi)[ \t,]*\Z", re.IGNORECASE
)
_TITLE = re.compile(r"《([^《》\n]{1,40})》")
_PLACES = ["北京", "天津", "上海", "重庆", "河北", "山西", "辽宁", "吉林", "黑龙江", "江苏", "浙江", "安徽", "福建", "江西", "山东", "河南", "湖北", "湖南", "广东", "海南", "四川", "贵州", "云南", "陕西", "甘肃", "青海", "台湾", "内蒙古", "广西", "西藏", "宁夏", "新疆", "香港", "澳门", "南京", "杭州", "苏州", "武汉", "长沙", "成都", "广州", "深圳", "西安", "洛阳", "开封", "郑州", "济南", "青岛", "大连", "沈阳", "哈尔滨", "长春", "合肥", "福州", "厦门", "南昌", "昆明", "贵阳", "拉萨", "兰州", "西宁", "银川", "太原", "石家庄", "海口", "三亚", "宜昌", "中国", "美国", "英国", "法国", "德国", "日本", "韩国", "俄罗斯", "苏联", "印度", "意大利", "西班牙", "葡萄牙", "荷兰", "瑞典", "瑞士", "挪威", "丹麦", "芬兰", "波兰", "奥地利", "希腊", "埃及", "巴西", "加拿大", "澳大利亚", "尼泊尔", "泰国", "越南", "朝鲜", "新加坡", "马来西亚", "伦敦", "巴黎", "柏林", "罗马", "东京", "纽约", "华盛顿", "莫斯科", "维也纳", "欧洲", "亚洲", "非洲", "美洲", "南美洲", "北美洲", "大洋洲", "南极洲"]  # fmt: skip
_PLACE = re.compile("|".join(sorted(_PLACES, key=len, reverse=True)))
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江"
    "尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤屠柯司欧诸上祖扁华张鲁屈荀墨岳纪毕卓窦章苗凤花俞柳酆鲍费廉岑倪滕殷罗郝邬安常乐于时傅皮卞齐康伍余元卜顾孟平黄和穆萧尹姚邵湛汪祁毛禹狄米贝明臧计伏成戴谈宋茅庞熊纪舒屈项祝董梁杜阮蓝闵席季麻强贾路娄危"
)
_TRANSLITERATED = (
    "阿埃艾安奥巴贝本比波伯博布查茨达戴丹道德邓迪丁杜多厄恩尔法菲费芬弗佛福戈格哥古圭哈海汉赫亨华霍基吉加贾杰金卡凯坎康考柯科克肯库拉"
    "莱兰朗劳勒雷里利莉莲林琳列刘卢鲁伦罗洛马玛麦曼梅蒙米密摩莫姆木穆纳娜内尼涅宁牛诺欧帕佩皮普奇齐契钱乔切琼丘日瑞若萨塞桑森沙莎"
    "舍施史司丝斯苏索塔泰坦汤陶特提廷图托瓦万威韦维魏温文翁沃乌伍西希夏肖谢辛欣休雪逊雅亚扬耶伊依因英尤约泽扎詹珍朱兹佐居牛顿哲"
)
_FOREIGN = re.compile(rf"[{_TRANSLITERATED}]{{2,6}}(?:·[{_TRANSLITERATED}]{{1,6}})+|[{_TRANSLITERATED}]{{3,6}}")
_OFFICE = "作家诗人棋手画家学者教授博士医生将军皇帝总统导演演员院士校长部长主席总理书记科学家物理学家化学家药学家航海家数学家思想家音乐家作曲家航天员宇航员探险家"
_ROLE = r"(?:作家|诗人|棋手|画家|学者|教授|博士|将军|皇帝|总统|导演|院士|[\u4e00-\u9fff]学家|[航思音作探数]\w{1,2}家|航天员|宇航员|朝的|代的)"
_BEFORE = r"(?<![\u4e00-\u9fff])|(?<=[的是和与由被对了向给叫让比为、把,])|" + "|".join(
    f"(?<={word})"
    for word in (
        "作家",
        "诗人",
        "棋手",
        "画家",
        "教授",
        "博士",
        "学家",
        "海家",
        "航天员",
        "了解",
        "认识",
        "一位叫",
        "者",
    )
)
_AFTER = r"(?=[,，。、;；:：!！?？”》\s）)]|\Z|的|和|与|及|用|在|写|于|说|是|出生|获|曾|等|乘|发|率|从|培|把|花|整理|叔|爷|奶|先生|女士|坐|首|一生|去世|没|都|也|到|之手|爱|为|因|又|并|已|则|便|却|就|还|以|来|向|对|提出|试)"
_PERSON = re.compile(rf"(?:{_BEFORE})([{_SURNAMES}][\u4e00-\u9fff]{{1,2}}?){_AFTER}")
_KIN = re.compile(
    r".[阿奶叔爷大老小妹姐哥弟伯婶姨妈爸先女同师医药先老]|.[的了是在和与不有也就都一二三四五六七八九十个上下中人们后前年月日天国家用到来去说看会要能可这那么些]"
)


@dataclass(frozen=True, slots=True)
class Name:
    """A name, and where it stands."""

    text: str
    kind: Kind
    start: int
    end: int


def names(text: str) -> list[Name]:
    """Every name of a text in NFKC that can be told by its form; who only speaks or is spoken to is none."""
    found = [*_titles(text), *_latin(text)]
    found += [Name(m[0], "place", *m.span()) for m in _PLACE.finditer(text)]
    for name in (*_people(text), *(Name(m[0], "person", *m.span()) for m in _FOREIGN.finditer(text))):
        if not inside((name.start, name.end), [(one.start, one.end) for one in found]):
            found.append(name)
    return sorted(found, key=lambda n: n.start)


def _titles(text: str) -> Iterator[Name]:
    for found in _TITLE.finditer(text):
        yield Name(found[1], "title", found.start(1), found.end(1))


def _people(text: str) -> Iterator[Name]:
    for found in _PERSON.finditer(text):
        if not _KIN.match(found[1]):
            yield Name(found[1], "person", found.start(1), found.end(1))


def _latin(text: str) -> Iterator[Name]:
    for sentence in sentences(text):
        start = _FIRST_WORD.match(sentence.text)
        first = start.end() if start else 0
        for found in _LATIN.finditer(sentence.text):
            said, at = found[0], found.start()
            if at == first or _opens(sentence.text, at):  # a capital that says nothing, unless the next has one too
                head, _, rest = said.partition(" ")
                if not rest and not _elsewhere(text, head, sentence.start + at):
                    continue
                if rest and not _elsewhere(text, head, sentence.start + at) and head.lower() in _OPENERS:
                    said, at = rest, at + len(head) + 1
            end = found.end()
            if said.lower() in _COMMON or _SPEAKER.match(sentence.text, end) or _SAID.search(sentence.text[:at]):
                continue
            if all(word.lower().rstrip(".") in _COMMON for word in said.split()):
                continue
            yield Name(said.removesuffix("'s").removesuffix("’s"), "latin", sentence.start + at, sentence.start + end)


_OPENERS = frozenset(
    [
        "the",
        "a",
        "an",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "as",
        "when",
        "then",
        "after",
        "before",
        "his",
        "her",
        "its",
        "their",
        "this",
        "that",
        "these",
        "those",
        "who",
        "what",
        "why",
        "how",
        "while",
        "during",
        "above",
        "under",
        "below",
        "only",
        "even",
        "since",
        "tonight",
        "today",
        "once",
        "did",
        "do",
        "does",
        "is",
        "was",
        "are",
        "were",
        "both",
        "either",
        "neither",
        "every",
        "each",
        "no",
        "not",
        "and",
        "but",
        "or",
    ]
)


def _opens(sentence: str, at: int) -> bool:
    """After a colon or an opening quote a sentence may begin."""
    return bool(re.search(r"(?:[:：\"“‘(]|\.)\s*\Z", sentence[:at]))


def _elsewhere(text: str, word: str, at: int) -> bool:
    """Whether the word has its capital inside a sentence somewhere else."""
    for found in re.finditer(rf"(?<![\w]){re.escape(word)}(?![\w])", text):
        if found.start() != at and re.search(r"[\w,;]\s+\Z", text[: found.start()]):
            return True
    return False
