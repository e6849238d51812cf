"""Generates a customer-service desk: questions, photos and voices, and what each customer wants.

Every cell carries one cue. A clear cue fits one intent, a shared cue fits two, a neutral cue fits
all four. `SITUATIONS` says how often which kinds meet; any two modalities that share different
cues decide together what neither decides alone.
"""

import argparse
import csv
import itertools
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from draw import PRODUCTS, draw_photo, write_photo
from speak import SPEAKERS, require_espeak, speak, write_ogg

SEED = 7
CUSTOMERS = {"train": 155, "valid": 33, "test": 33}
ROWS_PER_CUSTOMER = (2, 6)
CLIPS_PER_CUE_AND_SPEAKER = {"train": 4, "valid": 1, "test": 1}
MISSING_PER_MODALITY = 0.04
TYPO_PROBABILITY = 0.15
MODALITIES = ("question", "photo", "voice")
COLUMNS = ("id", "customer", "language", *MODALITIES, "intent", "split")
INTENTS = ("product_enquiry", "order_status", "after_sales", "complaint")
SHARED_CUES = {
    "question": {
        "before_trouble": ("product_enquiry", "order_status"),
        "in_trouble": ("after_sales", "complaint"),
    },
    "photo": {
        "product": ("product_enquiry", "after_sales"),
        "parcel": ("order_status", "complaint"),
    },
    "voice": {
        "to_a_person": ("product_enquiry", "complaint"),
        "past_purchase": ("order_status", "after_sales"),
    },
}
SITUATIONS = {  # kinds of cue in question, photo, voice -> percent of the rows
    ("clear", "clear", "clear"): 22,
    ("clear", "clear", "neutral"): 12,
    ("clear", "neutral", "clear"): 12,
    ("neutral", "clear", "clear"): 12,
    ("clear", "shared", "shared"): 9,
    ("shared", "clear", "shared"): 9,
    ("shared", "shared", "clear"): 9,
    ("clear", "neutral", "neutral"): 2,
    ("neutral", "clear", "neutral"): 2,
    ("neutral", "neutral", "clear"): 2,
    ("shared", "shared", "neutral"): 3,
    ("shared", "neutral", "shared"): 3,
    ("neutral", "shared", "shared"): 3,
}


def main() -> None:
    """Writes manifest.csv, photo/ and voice/, and prints the counts and the bounds."""
    output = parse_arguments().output
    require_espeak()
    phrases = json.loads(Path(__file__).with_name("phrases.json").read_text("utf-8"))
    rng = np.random.default_rng(SEED)
    for folder in ("photo", "voice"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    clips = make_clips(phrases, output, rng)
    rows, cues = make_rows(phrases, clips, output, rng)
    remove_unused_clips(clips, rows, output)
    write_manifest(rows, output / "manifest.csv")
    print_counts(rows)
    print_bounds([seen for row, seen in zip(rows, cues, strict=True) if row["split"] == "test"])


def parse_arguments() -> argparse.Namespace:
    """Reads the folder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent)
    return parser.parse_args()


def make_clips(phrases: dict, output: Path, rng: np.random.Generator) -> dict[tuple, list[str]]:
    """Speaks the clips of each split; the rows of a split share them.

    Returns:
        File names relative to `output` for every (split, language, cue).
    """
    clips = defaultdict(list)
    names = (f"voice/{number:03d}.ogg" for number in itertools.count(1))
    for split, repeats in CLIPS_PER_CUE_AND_SPEAKER.items():
        for language, speakers in SPEAKERS.items():
            for cue, texts in phrases["voice"][language].items():
                for turn, speaker in enumerate(np.repeat(speakers, repeats)):
                    name = next(names)
                    samples = speak(texts[turn % len(texts)], language, speaker, cue, rng)
                    write_ogg(output / name, samples)
                    clips[split, language, cue].append(name)
    return clips


def make_rows(
    phrases: dict, clips: dict[tuple, list[str]], output: Path, rng: np.random.Generator
) -> tuple[list[dict[str, str]], list[tuple]]:
    """Makes the rows of all customers.

    Returns:
        The rows, and for each row what can be seen of its intent (see `hide`).
    """
    splits = rng.permutation(np.repeat(list(CUSTOMERS), list(CUSTOMERS.values())))
    rows, cues = [], []
    for number, split in enumerate(splits, 1):
        language = str(rng.choice(list(SPEAKERS)))
        for _ in range(rng.integers(*ROWS_PER_CUSTOMER, endpoint=True)):
            intent = str(rng.choice(INTENTS))
            cues.append((intent, hide(draw_cues(intent, rng), draw_missing(rng))))
            row = {"id": f"{len(cues):04d}", "customer": f"C{number:03d}", "language": language}
            row |= {"intent": intent, "split": str(split)}
            rows.append(row | make_cells(row, cues[-1][1], phrases, clips, output, rng))
    return rows, cues


def draw_cues(intent: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Draws a situation and gives the cue of each modality for an intent."""
    shares = np.array(list(SITUATIONS.values())) / sum(SITUATIONS.values())
    return cues_of(list(SITUATIONS)[rng.choice(len(shares), p=shares)], intent)


def cues_of(situation: tuple[str, ...], intent: str) -> tuple[str, ...]:
    """Names the cues of a situation, in the order of `MODALITIES`."""
    return tuple(map(cue_of, MODALITIES, situation, itertools.repeat(intent)))


def cue_of(modality: str, kind: str, intent: str) -> str:
    """Names the cue: the intent itself, the shared cue that fits it, or `neutral`."""
    if kind == "shared":
        return next(cue for cue, fits in SHARED_CUES[modality].items() if intent in fits)
    return intent if kind == "clear" else "neutral"


def draw_missing(rng: np.random.Generator) -> str:
    """Draws the modality whose cell stays empty, "" in most rows."""
    return str(rng.choice(["", *MODALITIES], p=missing_shares()))


def missing_shares() -> list[float]:
    """Gives the probabilities that no cell is empty, or that of each modality."""
    return [1 - MISSING_PER_MODALITY * len(MODALITIES), *[MISSING_PER_MODALITY] * len(MODALITIES)]


def hide(cues: tuple[str, ...], missing: str) -> tuple[str, ...]:
    """Replaces the cue of the empty cell by ""."""
    return tuple("" if name == missing else cue for name, cue in zip(MODALITIES, cues, strict=True))


def make_cells(
    row: dict[str, str],
    cues: tuple[str, ...],
    phrases: dict,
    clips: dict[tuple, list[str]],
    output: Path,
    rng: np.random.Generator,
) -> dict[str, str]:
    """Writes the photo, picks a clip and words the question; all three are about one product."""
    question_cue, photo_cue, voice_cue = cues
    product = str(rng.choice(list(PRODUCTS)))
    cells = dict.fromkeys(MODALITIES, "")
    if question_cue:
        cells["question"] = word_question(phrases, row["language"], question_cue, product, rng)
    if photo_cue:
        cells["photo"] = f"photo/{row['id']}.jpg"
        write_photo(output / cells["photo"], draw_photo(photo_cue, product, rng))
    if voice_cue:
        cells["voice"] = str(rng.choice(clips[row["split"], row["language"], voice_cue]))
    return cells


def word_question(phrases: dict, language: str, cue: str, product: str, rng: np.random.Generator) -> str:
    """Fills a template of the cue with a greeting, a product's name and an ending."""
    parts = phrases["greetings"], phrases["question"], phrases["endings"]
    greetings, templates, endings = (part[language] for part in parts)
    text = "".join(rng.choice(choices) for choices in (greetings, templates[cue], endings)).format(
        product=rng.choice(phrases["products"][language][product]),
        order=rng.integers(100000, 1000000),
        name=rng.choice(phrases["names"][language]),
    )
    return add_typo(text, rng) if rng.random() < TYPO_PROBABILITY else text


def add_typo(text: str, rng: np.random.Generator) -> str:
    """Swaps two neighbouring characters."""
    place = int(rng.integers(len(text) - 1))
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def remove_unused_clips(clips: dict[tuple, list[str]], rows: list[dict[str, str]], output: Path) -> None:
    """Deletes the clips that no row has picked."""
    used = {row["voice"] for row in rows}
    for name in set(itertools.chain(*clips.values())) - used:
        (output / name).unlink()


def write_manifest(rows: list[dict[str, str]], path: Path) -> None:
    """Writes the rows as UTF-8 CSV with paths relative to the table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def print_counts(rows: list[dict[str, str]]) -> None:
    """Prints the size of the table and its rows per split, language and intent."""
    print(f"{len(rows)} rows of {len({row['customer'] for row in rows})} customers")
    for name in MODALITIES:
        print(f"{len({row[name] for row in rows} - {''})} different cells in {name}, "
              f"{sum(not row[name] for row in rows)} empty")  # fmt: skip
    for column in ("split", "language", "intent"):
        counts = Counter(row[column] for row in rows)
        print(f"{column}:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def print_bounds(test_cues: list[tuple]) -> None:
    """Prints the best possible accuracy of each set of modalities, for a reader who errs in no cue."""
    chances = outcome_chances()
    print("best possible accuracy: all rows, rows of test")
    for size in range(1, len(MODALITIES) + 1):
        for kept in itertools.combinations(range(len(MODALITIES)), size):
            confidences = best_confidences(chances, kept)
            overall = sum(p * confidences[pick(cues, kept)] for (_, cues), p in chances.items())
            test = np.mean([confidences[pick(cues, kept)] for _, cues in test_cues])
            print(f"{' + '.join(MODALITIES[i] for i in kept)}: {overall:.3f}, {test:.3f}")


def outcome_chances() -> Counter:
    """Computes from the tables how likely each (intent, visible cues) is."""
    chances = Counter()
    missing = dict(zip(["", *MODALITIES], missing_shares(), strict=True))
    for intent, situation, absent in itertools.product(INTENTS, SITUATIONS, missing):
        share = SITUATIONS[situation] / sum(SITUATIONS.values()) / len(INTENTS)
        chances[intent, hide(cues_of(situation, intent), absent)] += share * missing[absent]
    return chances


def best_confidences(chances: Counter, kept: tuple[int, ...]) -> dict[tuple, float]:
    """Gives, for what the kept modalities show, the chance of the intent that it speaks for most."""
    chances_by_cues = defaultdict(Counter)
    for (intent, cues), chance in chances.items():
        chances_by_cues[pick(cues, kept)][intent] += chance
    return {cues: max(c.values()) / c.total() for cues, c in chances_by_cues.items()}


def pick(cues: tuple[str, ...], kept: tuple[int, ...]) -> tuple[str, ...]:
    """Keeps the cues at some positions."""
    return tuple(cues[i] for i in kept)


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
