"""Whether a clip is of one class or of several.

A dataset is of one kind, which its `dataset.json` states and its networks' `run.json` and
`model.json` repeat; everything else follows from it:

|                 | `single`                        | `multi`                                     |
|-----------------|---------------------------------|---------------------------------------------|
| a clip has      | one class                       | one class or several                        |
| batches hold    | int32 `[batch]`, the class      | float32 `[batch, classes]`, 1 for each      |
| loss            | cross-entropy of the softmax    | cross-entropy of the sigmoids, mean over    |
|                 |                                 | classes                                     |
| probabilities   | softmax of the logits           | sigmoid of the logits                       |
| top-k           | the class is among the k        | one of the classes is among the k highest   |
|                 | highest logits                  | logits                                      |
| measured by     | top-1, top-5, mean class        | mAP, top-1, top-5                           |
|                 | accuracy                        |                                             |

Code that computes with labels tells the kinds apart by their rank.
"""

from __future__ import annotations

SINGLE_LABEL, MULTI_LABEL = "single", "multi"
LABEL_KINDS = (SINGLE_LABEL, MULTI_LABEL)

#: Between the names of a clip's classes where a table or a picture has them in one cell.
NAME_SEPARATOR = "; "
