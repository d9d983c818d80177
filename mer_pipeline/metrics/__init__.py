"""The metric files, which the stages write and which the report and the commands read: one module and class for each.

| file | class | written by |
|---|---|---|
| metrics/ingest.json | `ingest.IngestMetrics` | stage ingest |
| metrics/labels.json | `labels.LabelMetrics` | stage labels |
| metrics/pseudo.json | `pseudo.PseudoMetrics` | stage pseudo |
| metrics/train.json | `train.TrainMetrics` | stage train |
| metrics/ablation.json | `ablation.AblationMetrics` | stage ablation |
| metrics/predict.json | `predict.PredictMetrics` | stage predict |

No module here computes anything: the figures come from `scores`, `labels` and `training`. None imports torch.
"""
