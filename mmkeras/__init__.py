"""mmkeras: train, judge, explain and ship Keras models over tables of text, pictures, sound, video, series and numbers.

The flow, which is also the tree:

    manifest.py       rows         CSV, Parquet, DataFrame -> typed columns, paths, splits, missing cells
    features.py       cells        read a file -> its canonical bytes         <- a serving client starts here
    preprocessing.py  features     {column: {feature: fixed-shape tensor, "present": 0 or 1}}
    dataset.py        batches      cache -> shuffle -> augment (training only) -> batch -> prefetch
    model.py          encodings    {column: Encoding(vector, tokens, mask, present)}
                      fused        Fused(vector, weights)
                      predictions  {target: tensor}
    train.py          a run        run.py says what its folder holds; what follows adds to it
    evaluate.py       judged       judged_rows -> judging (statistics) -> evaluation.json; beside it against, baselines
    explain.py        explained    explaining -> explainer -> explanation.py; between columns shapley, coalitions;
                                   inside them attribution, grad_cam, by parts of the model's graph; faithfulness checks
    report.py         one page     results -> summary, sections (charts), gallery (Modality.draw) -> templates/
    predict.py, embed.py           answers, vectors of a table's rows
    export.py         SavedModel:  answers = heads(model(preprocessing(cells)))

Add a kind of column in `modalities/`, a way to join columns in `fusions/`, a task in `heads/`:
the file's name is the value of `type:` in the config.
"""

import os

__version__ = "0.1.0"

# TensorFlow reads this once, when it is imported: without it a dozen lines about CPU features precede every answer.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
