"""The README of the split, with its numbers filled in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from generator.odd import Odd
from generator.plan import CLASSES, Clip, limits
from generator.tables import ANNOTATORS

TEXT = """\
# Demo split

Written by `python data/generator --out data/demo --seed {seed}`; `python data/generator --check` makes it again and
compares. Do not edit by hand.

{n} clips of 2 s (320x240, 12.5 frames/s, H.264; mono 16 kHz AAC) in the layout of MER2025. **Nothing in it is
real data of that challenge, and no recorded person feels anything here**: one public-domain photograph is warped
into different faces that speak and change expression, the voices are synthesised (no word can be understood), and
the subtitles come from templates. It shows that the pipeline works and lets changes be compared; a score on it says
nothing about a score on people.

| split | clips | groups (speakers) |
|---|---|---|
{splits}

The group is the name's beginning, `^(s\\d\\d)_`. Test speakers occur in neither training nor pool.

## Files

| file | columns | |
|---|---|---|
| `video/{{name}}.mp4` | | |
| `subtitle_chieng.csv` | name, chinese, english | |
| `track1_train_disdim.csv` | name, discrete, valence | {wrong} of {train} labels wrong, most for a neighbouring class |
| `track_all_candidates.csv` | name | |
| `track1_test_dis.csv` | name, discrete | truth of the candidates |
| `truth_train.csv` | name, discrete | true labels of the training clips, to evaluate label cleaning only |
| `votes.csv` | name, source, family, label | **simulated** annotators, see below |
| `odd.csv` | name, what, expected, note | the odd clips and what a reader should make of them |

`votes.csv` holds the votes of two independent annotators **that do not exist**: they are the true label with
simulated errors ({annotators}; a tenth of the votes is missing).

## What tells the class

True classes, in the order {classes}: {counts}.

In each clip at least one of face, voice and words carries the class. Each of the others is flat, or shows a
neighbouring class. Accuracy of the best possible reader of the generating states: {limits}. No single modality
can get far; weighing them can.

## Odd clips

| name | what | expected | |
|---|---|---|---|
{odds}

`expected`: `ok`, processed as any other; `skip X`, that modality is absent and everything else is used;
`quarantine`, the file cannot be read to its end and is set aside; `problem`, listed when the folder is read.

## Licences

- Face and figure: photograph of Eileen Collins, NASA, public domain (`skimage.data.astronaut`).
- Backgrounds: `skimage.data` coffee (Rachel Michetti, CC0), chelsea (Stefan van der Walt, CC0), rocket (SpaceX,
  public domain), brick, gravel and grass (CC0), all blurred.
- Voices, words, tables and the generator: this project's own, under its licence.
"""


def readme(seed: int, clips: Sequence[Clip], odds: Sequence[Odd]) -> str:
    """The text, Markdown."""
    train = [c for c in clips if c.split == "train"]
    total = Counter(c.label for c in clips)
    lines = []
    for split in ("train", "test", "pool"):
        members = [c for c in clips if c.split == split]
        lines.append(f"| {split} | {len(members)} | {' '.join(sorted({c.speaker for c in members}))} |")
    return TEXT.format(
        seed=seed,
        n=len(clips),
        splits="\n".join(lines),
        wrong=sum(c.given != c.label for c in train),
        train=len(train),
        annotators=", ".join(f"`{s}` of family `{f}` right in {p:.0%}" for (s, f), p in ANNOTATORS.items()),
        classes=" ".join(CLASSES),
        counts=" ".join(str(total[c]) for c in CLASSES),
        limits=", ".join(f"{name} {value:.2f}" for name, value in limits().items()),
        odds="\n".join(f"| `{o.name}` | {o.what} | {o.expected} | {o.note} |" for o in odds),
    )
