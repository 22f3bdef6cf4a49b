"""Models that judge: what they are asked, how their answers are read, and what several of them agree on."""

from synthgen.judging.judge import Judge as Judge
from synthgen.judging.reading import Scale as Scale
from synthgen.judging.rubrics import CONSISTENCY as CONSISTENCY
from synthgen.judging.rubrics import CONTRADICTION as CONTRADICTION
from synthgen.judging.rubrics import PAIRWISE as PAIRWISE
from synthgen.judging.rubrics import QUALITY as QUALITY
from synthgen.judging.rubrics import QUALITY_10 as QUALITY_10
from synthgen.judging.rubrics import STYLE as STYLE
from synthgen.judging.rubrics import TOGETHER as TOGETHER
from synthgen.judging.rubrics import Rubric as Rubric
from synthgen.judging.verdicts import UNPARSED as UNPARSED
from synthgen.judging.verdicts import Comparison as Comparison
from synthgen.judging.verdicts import Rating as Rating
from synthgen.judging.verdicts import Verdict as Verdict
from synthgen.judging.verdicts import scores as scores
