"""What an evaluation says of its models, by what a person calls them."""

from mmkeras.evaluation.models import OWN, models_in


def scores_of(evaluation):
    """{target: {what a person calls a model: {metric: value}}} of what evaluate returns."""
    return {
        target: {model.words: each["scores"] for model, each in models_in(part).items()}
        for target, part in evaluation["targets"].items()
    }


def model_of(part, model=OWN):
    """A model's record in a target's part of an evaluation."""
    return models_in(part)[model]
