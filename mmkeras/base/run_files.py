"""What the files of a run folder are called: here, and nowhere else.

config.yaml             the resolved configuration, every default visible
schema.json             the same with the fitted state: vocabulary, means, classes
origin.json             when, with which command and which versions of packages it was begun
table.json              which table it was trained on: path (without one, the folder of its files) and content hash
table.parquet           the table itself, where it had no path
splits.csv              the split of each row; unused, where a bad cell dropped it
bad_rows.csv            cells that could not be used: row, column, path, reason, what was done
model.weights.h5        the best epoch's weights
checkpoints/            the last finished epoch, until training is done
history.json            losses and metrics of each epoch
metrics.json            {"test": {target: {metric: value}}, "valid": …, "bad_cells": {"cells": how many, …}}
predictions.npz         the model's predictions of the test and validation rows, in their order: "test TARGET", …
evaluation.json         what `evaluate` found, and evaluation_rows.parquet: what became of each judged row
evaluation_TARGET.txt   the head's report on the judged rows
against_RUN.json, .csv  how another run differs, and on which rows
explanation/            explanation.json, shapley.parquet, attributions.npz; those of the page's gallery in shown/
report.html             the page
check.csv               what `mmkeras check` found, where it was told to write here; the page shows it
alone/COLUMN/           the run of the same network on one column
run.log                 what was printed, with times
tensorboard/            event files; below, in answers/, vectors.tsv with metadata.tsv for the projector
*.png                   pictures of the model, the curves, right and wrong answers
.lock                   held by the process that trains here
"""

CONFIG, SCHEMA, ORIGIN = "config.yaml", "schema.json", "origin.json"
TABLE, TABLE_ROWS = "table.json", "table.parquet"
SPLITS, BAD_ROWS, CHECKED = "splits.csv", "bad_rows.csv", "check.csv"
WEIGHTS, CHECKPOINTS, LOCK, LOG = "model.weights.h5", "checkpoints", ".lock", "run.log"
HISTORY, METRICS, PREDICTIONS = "history.json", "metrics.json", "predictions.npz"
HISTORY_PICTURE, MODEL_PICTURE = "history.png", "model.png"
TENSORBOARD, ANSWERS = "tensorboard", "answers"
EVALUATION, EVALUATED_ROWS = "evaluation.json", "evaluation_rows.parquet"
EXPLANATION_FOLDER, SHOWN_FOLDER = "explanation", "shown"
EXPLANATION, SHAPLEY, ATTRIBUTIONS = "explanation.json", "shapley.parquet", "attributions.npz"
REPORT, ALONE = "report.html", "alone"


def answers_picture(target: str, split: str) -> str:
    """Right and wrong answers of a split's rows, after training."""
    return f"answers_{target}_{split}.png"


def evaluation_text(target: str) -> str:
    return f"evaluation_{target}.txt"


def evaluation_picture(target: str) -> str:
    """Right and wrong answers of the judged rows."""
    return f"evaluation_{target}.png"


def confidence_picture(target: str) -> str:
    """How far confidence can be believed on the judged rows."""
    return f"evaluation_{target}_confidence.png"


def against(run_name: str, ending: str) -> str:
    """How another run differs, as .json or .csv."""
    return f"against_{run_name}{ending}"
