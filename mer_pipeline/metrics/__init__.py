"""The metric files, one module and one class each: what the stages write and what the report and the commands read.

| file | class | written by |
|---|---|---|
| metrics/ingest.json | `ingest.IngestMetrics` | stage ingest |
| metrics/labels.json | `labels.LabelMetrics` | stage labels |
| metrics/pseudo.json | `pseudo.PseudoMetrics` | stage pseudo |
| metrics/train.json | `train.TrainMetrics` | stage train |
| metrics/ablation.json | `ablation.AblationMetrics` | stage ablation |
| metrics/predict.json | `predict.PredictMetrics` | stage predict |

Nothing here computes: the figures come from `scores`, `labels` and `training`. Nothing here needs torch.
"""
