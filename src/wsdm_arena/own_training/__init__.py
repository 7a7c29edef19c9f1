"""A judge from files of votes, by the trainer of the pipelines, without a Kedro project."""
