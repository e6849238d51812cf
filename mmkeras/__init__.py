"""mmkeras: train, judge, explain and ship Keras models over tables of text, pictures, sound, video, series and numbers.

The flow, which is also the tree; a room imports from the rooms above it only:

    base/         leaves without machine learning: terminal, threads, files, statistics, words, html
    contracts/    what must agree: Modality, Fusion, Head, Scorer, Encoding, Config; `find` loads members by name
    table/        rows       CSV, Parquet, DataFrame -> typed columns, paths, splits, missing cells; no TensorFlow
    features/     cells      read a file -> its canonical bytes         <- a serving client starts here
                  features   {column: {feature: fixed-shape tensor, "present": 0 or 1}}
                  batches    cache -> shuffle -> augment (training only) -> batch -> prefetch
    network/      encodings  {column: Encoding(vector, tokens, mask, present)}
                  fused      Fused(vector, weights)
                  outputs    {target: tensor}
    components/   where you add: a kind of column in modalities/, a way to join columns in fusions/, a task in heads/;
                  the file's name is the value of `type:` in the config
    training/     a run      fit, checkpoints, the run folder
    serving/      SavedModel: answers = heads(network(preprocessing(cells))); answers and vectors of a table's rows
    evaluation/   judged     rows -> judging (statistics) -> evaluation.json; beside it against, baselines, comparison
    explanation/  explained  between columns Shapley values; inside them gradients and Grad-CAM; checks
    reporting/    one page   results -> sections (charts), gallery (Modality.draw) -> templates/

    train.py, check.py, evaluate.py, ... are the doors: `python -m mmkeras.NAME`, `mmkeras NAME` and
    `from mmkeras.NAME import NAME` are the same.
"""

import os

__version__ = "0.1.0"

# TensorFlow reads this once, when it is imported: without it a dozen lines about CPU features precede every answer.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
