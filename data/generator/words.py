"""What is said, in Chinese and English: a cue of the class, a topic that says nothing, put together in some order.

Some cues and topics are kept back for the test speakers, so that whoever only remembers sentences is found out;
most cues share a character or a stem with one of the training speakers.
"""

from __future__ import annotations

from generator.plan import Cue, Rng

Pair = tuple[str, str]

CUES: dict[str, tuple[Pair, ...]] = {
    "neutral": (
        ("按计划照常进行", "it goes ahead as planned"),
        ("按时间表一项一项来", "we take it item by item, on schedule"),
        ("我按规定登记一下", "I will register it according to the rules"),
        ("照常开会记录就行", "the meeting and the minutes as usual"),
        ("下一项是例行登记", "the next item is the routine register"),
        ("按流程整理一份记录", "put the record in order as usual"),
        ("例行检查照常进行", "the routine check goes on as planned"),
        ("按顺序登记时间", "register the times in order, on schedule"),
    ),
    "angry": (
        ("你凭什么这样，气死我了", "how dare you, this makes me so angry"),
        ("够了，别再骗我", "enough, stop lying to me"),
        ("真是气人，太过分了", "it is infuriating, this goes too far"),
        ("你给我闭嘴，烦死了", "shut up, I am sick of it"),
        ("凭什么又怪我，过分", "how dare you blame me again, too far"),
        ("别烦我，滚出去", "stop it and get out"),
        ("气死我了，你够了", "I am so angry, enough of you"),
        ("太过分了，别再烦我", "you go too far, stop it, I am sick of you"),
    ),
    "happy": (
        ("太好了，我真高兴", "great, I am so glad"),
        ("哈哈，开心极了", "haha, I am so happy"),
        ("真棒，我们赢了", "wonderful, we won"),
        ("好开心，谢谢你", "so happy, thank you"),
        ("太棒了，真喜欢", "wonderful, I love it"),
        ("高兴得想唱歌", "so glad that I want to sing"),
        ("哈哈，太好了", "haha, that is great"),
        ("真开心，太棒了", "so happy, how wonderful"),
    ),
    "sad": (
        ("我很难过，一直想哭", "I am so sad, I could cry"),
        ("他走了，再也回不来", "he is gone and never comes back"),
        ("我真的好想念他", "I miss him so much"),
        ("心里难受，眼泪止不住", "my heart aches, the tears never stop"),
        ("只剩我一个人，好孤单", "I am left alone, so lonely"),
        ("对不起，我哭了", "sorry, I had to cry"),
        ("好难过，再也见不到他", "so sad, I never see him again"),
        ("一个人哭，心里难受", "I cry alone, my heart aches"),
    ),
    "worried": (
        ("怎么办，我好担心", "what shall I do, I am so worried"),
        ("万一出事怎么办", "what if something happens"),
        ("我怕来不及了", "I am afraid it is too late"),
        ("不知道他会不会有危险", "I wonder whether he is in danger"),
        ("我担心万一失败", "I am worried what if it fails"),
        ("心里不安，怕出问题", "I am uneasy, afraid of trouble"),
        ("怎么办，怕有危险", "what shall I do, I am afraid of the danger"),
        ("好担心，会不会来不及", "so worried, what if it is too late"),
    ),
    "surprise": (
        ("天哪，竟然是真的", "oh my god, it is really true"),
        ("什么，怎么可能", "what, how can that be"),
        ("没想到居然是你", "I never expected that it was you"),
        ("真的吗，吓我一跳", "really, you startled me"),
        ("哇，竟然这么大", "wow, unbelievably big"),
        ("居然成了，难以置信", "it worked after all, unbelievable"),
        ("天哪，没想到", "oh my god, I never expected that"),
        ("哇，怎么可能，真的吗", "wow, how can that be, really"),
    ),
}
"""The first six of each are for the training speakers, the last six for the test speakers."""

TOPICS: tuple[Pair, ...] = (
    ("这件事", "about this matter"),
    ("今天下午", "this afternoon"),
    ("关于那封信", "about that letter"),
    ("公司里", "at the company"),
    ("昨天晚上", "last night"),
    ("在车站", "at the station"),
    ("妈妈打电话来", "mother called"),
    ("医院那边", "over at the hospital"),
    ("这个房间", "this room"),
    ("考试结果", "the result of the exam"),
    ("小王刚才", "Xiao Wang just now"),
    ("下个星期", "next week"),
    ("学校门口", "at the school gate"),
    ("那本书", "that book"),
)
"""The first ten are for training, the last ten for the test."""

FILLERS: tuple[Pair, ...] = (
    ("嗯", "mm"), ("哦", "oh"), ("嗯嗯", "mm-hm"), ("好", "okay"), ("是", "yes"), ("这个嘛", "well"), ("行", "fine"),
    ("就那样", "so-so"),
)  # fmt: skip
"""Flat words: next to nothing is said."""

ENDS: tuple[Pair, ...] = (("", ""), ("", ""), ("啊", ", you see"), ("吧", ", I guess"), ("呢", ", you know"))


def say(cue: Cue, split: str, rng: Rng) -> Pair:
    """The subtitle of a clip: (Chinese, English), never empty."""

    def one(bank: tuple[Pair, ...]) -> Pair:
        return bank[int(rng.integers(len(bank)))]

    if cue.shows is None:
        first, topic = one(FILLERS), one(_of(TOPICS, split, 10))
        return (f"{first[0]}，{topic[0]}。", f"{first[1]}, {topic[1]}.") if rng.random() < 0.4 else _stop(first)
    bank = _of(CUES[cue.shows], split, 6)
    parts = [one(bank)]
    if rng.random() < 0.8:
        parts.insert(0, one(_of(TOPICS, split, 10)))
    if cue.strength > 0.95:  # the strongly moved say it twice, the weakly moved hum first
        parts.append(one(bank))
    elif cue.strength < 0.85:
        parts.insert(0, one(FILLERS))
    end = one(ENDS)
    chinese = "，".join(p[0] for p in parts) + end[0] + "。"
    english = ", ".join(p[1] for p in parts) + end[1] + "."
    return chinese, english


def _stop(pair: Pair) -> Pair:
    return f"{pair[0]}。", f"{pair[1]}."


def _of(bank: tuple[Pair, ...], split: str, n: int) -> tuple[Pair, ...]:
    return bank[-n:] if split == "test" else bank[:n]
