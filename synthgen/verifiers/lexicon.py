"""The words that verifiers know: those without content, openers of sentences, Chinese surnames and places."""

from __future__ import annotations


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


# English words without content, in lower case, and the endings of contractions.
STOP = _words("""
a an the and or but if then than that this these those it its he she they them his her their you your we our i me my of
to in on at by for from with as is are was were be been being am do does did have has had will would can could should
may might must not no so very too also just only even more most much many some any all each every one ones there here
when where who which what how why about into over under after before again up down out off s t ll ve re d m
""")
# Characters that make no term: particles, pronouns, auxiliaries, and what denies.
STOP_ZH = frozenset(
    "的了是在和与也就都而及着或有这那我你他她它们个把被让给从向于以为之其所吗呢吧啊呀哦很更最还又再能可要应该得不没未无非别"
)
# Stems that the rules for endings do not find.
IRREGULAR = {
    **dict.fromkeys(("taken", "took", "takes", "taking"), "tak"),
    **dict.fromkeys(("frozen", "freezing", "froze"), "freez"),
    **dict.fromkeys(("died", "dies", "dying"), "die"),
    **dict.fromkeys(("went", "gone"), "go"),
    **dict.fromkeys(("began", "begun"), "begin"),
    **dict.fromkeys(("seen", "saw"), "see"),
    **dict.fromkeys(("gave", "given"), "giv"),
    **dict.fromkeys(("wrote", "written"), "writ"),
    **dict.fromkeys(("made", "making"), "mak"),
    **dict.fromkeys(("houses", "house"), "hous"),
    **dict.fromkeys(("lives", "life"), "liv"),
    **{"kept": "keep", "won": "win", "led": "lead", "lost": "los", "built": "build", "found": "find", "feet": "foot"},
    "children": "child",
}
# After a number these name nothing that is counted.
PREPOSITIONS = _words("""
of to in on at by for from and or than as is are was were per times more less with over under out the a an
""")
# Capitalised for what they are, not for whom they name; days and months are dates.
COMMON = _words("""
i i'm i'll i've i'd mr mrs ms dr prof january february march april may june july august september october november
december monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays
saturdays sundays dad mum mom daddy papa mummy grandma grandpa grandmother grandfather q a note ok okay yes no hello hi
dear the led dna ceo faq pdf usa uk eu un
""")
OPENERS = _words("""
the a an in on at by for from with as when then after before his her its their this that these those who what why how
while during above under below only even since tonight today once did do does is was are were both either neither every
each no not and but or later soon yesterday meanwhile however finally first next now so if since although because
""")
PLACES = _words("""
北京 天津 上海 重庆 河北 山西 辽宁 吉林 黑龙江 江苏 浙江 安徽 福建 江西 山东 河南 湖北
湖南 广东 海南 四川 贵州 云南 陕西 甘肃 青海 台湾 内蒙古 广西 西藏 宁夏 新疆 香港 澳门
南京 杭州 苏州 武汉 长沙 成都 广州 深圳 西安 洛阳 开封 郑州 济南 青岛 大连 沈阳 哈尔滨
长春 合肥 福州 厦门 南昌 昆明 贵阳 拉萨 兰州 西宁 银川 太原 石家庄 海口 三亚 宜昌 中国
美国 英国 法国 德国 日本 韩国 俄罗斯 苏联 印度 意大利 西班牙 葡萄牙 荷兰 瑞典 瑞士 挪威
丹麦 芬兰 波兰 奥地利 希腊 埃及 巴西 加拿大 澳大利亚 尼泊尔 泰国 越南 朝鲜 新加坡 马来西亚
伦敦 巴黎 柏林 罗马 东京 纽约 华盛顿 莫斯科 维也纳 欧洲 亚洲 非洲 美洲 南美洲 北美洲
大洋洲 南极洲
""")
# The surnames of nearly all people, and of the best known of the past.
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪"
    "范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤屠柯司欧诸上祖扁华鲁屈荀墨岳纪毕"
    "卓窦章苗凤花俞柳鲍费廉岑倪滕殷邬安常乐时傅皮卞齐康伍元卜平和穆萧湛祁禹狄米贝明臧计伏成谈茅庞舒项祝阮蓝闵席季麻强路娄危"
)
# Those of them that are as often a word of their own: a name only behind a word that marks one.
COMMON_SURNAMES = (
    "高万上于平成程方向何任时金白石江华常和计项路乐康明安祝席强包齐文元马林田叶花连水丁贝余史毛钱孔全司项温房温施单关"
)
# Characters that foreign names are spelt with.
FOREIGN = (
    "阿埃艾爱安奥巴贝本比波伯博布查茨达戴丹道德邓迪丁杜多厄恩尔法菲费芬弗佛福戈格哥古圭哈海汉赫亨华霍基吉加贾杰金卡凯坎康考柯科"
    "克肯库拉莱兰朗劳勒雷里利莉莲林琳列刘卢鲁伦罗洛马玛麦曼梅蒙米密摩莫姆木穆纳娜内尼涅宁牛诺欧帕佩皮普奇齐契钱乔切琼丘日瑞若"
    "萨塞桑森沙莎舍施史司丝斯苏索塔泰坦汤陶特廷图托瓦万威韦维魏温文翁沃乌伍西希夏肖谢辛欣休雪逊雅亚扬耶伊依因英尤约泽扎詹珍"
    "朱兹佐居顿哲"
)
# What may stand right before a Chinese name that nothing else marks: 由屠呦呦, 诗人屈原.
BEFORE_NAME = ("作家", "诗人", "棋手", "画家", "教授", "博士", "学家", "海家", "航天员", "了解", "认识", "一位叫", "者")
# And right behind it.
AFTER_NAME = _words("""
的 和 与 及 用 在 写 于 说 是 出生 获 曾 等 乘 发 率 从 培 把 花 整理 叔 爷 奶 先生 女士 坐 首 一生 去世 没 都 也 到
之手 爱 为 因 又 并 已 则 便 却 就 还 以 来 向 对 提出 试
""")
# A surname and one of these is a way to speak to somebody, or no name at all: 李叔, 高的.
NO_GIVEN_NAME = (
    "阿奶叔爷大老小妹姐哥弟伯婶姨妈爸先女同师医药"
    "的了是在和与不有也就都一二三四五六七八九十个上下中人们后前年月日天国家用到来去说看会要能可这那么些字"
)
ERAS = _words("乾隆 康熙 雍正 永乐 万历 嘉庆 道光 光绪 洪武 贞观 开元 民国 同治 咸丰 宣统 嘉靖 崇祯")
