"""mmkeras: train, judge, explain and ship Keras models over tables of text, pictures, sound, video, series and numbers.

The flow, which is also the tree; a room imports from the rooms above it only:

    base/         leaves without machine learning: terminal, threads, files, run_files, statistics, words, html
    contracts/    what must agree: Modality, Encoder, Fusion, Head, Scorer, Objective, Config; `find` loads members
    table/        rows       CSV, Parquet, DataFrame -> typed columns, paths, splits -> one Plan; no TensorFlow
    features/     cells      read a file -> its canonical bytes         <- a serving client starts here
                  features   {column: {feature: fixed-shape tensor, "present": 0 or 1}}
                  batches    cache -> shuffle -> batch -> augment (training only) -> objective's example -> prefetch
    network/      encodings  {column: Encoding(vector, tokens, mask, present)}
                  fused      Fused(vector, weights)
                  outputs    what the objectives ask for
    components/   where you add: a kind of column in modalities/, what reads it in encoders/, a way to join columns in
                  fusions/, a task in heads/, what a network is trained for in objectives/; the file's name is the
                  value in the config
    training/     a run      fit, checkpoints, the run folder
    serving/      SavedModel: answers = objective(network(preprocessing(cells))); answers and vectors of a table's rows
    evaluation/   judged     rows -> judging (statistics) -> evaluation.json; beside it against, baselines, comparison
    explanation/  explained  between columns Shapley values; inside them gradients and Grad-CAM; checks
    reporting/    one page   results -> sections (charts), gallery (Modality.draw) -> templates/

    train.py, check.py, evaluate.py, ... are the doors: `python -m mmkeras.NAME`, `mmkeras NAME` and
    `from mmkeras.NAME import NAME` are the same.
"""

import os

__version__ = "0.2.0"

# TensorFlow reads this once, when it is imported: without it a dozen lines about CPU features precede every answer.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
