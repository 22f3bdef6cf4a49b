"""Texts for other readers: pairs of a genre and an audience, where they come from, what a rewrite is held against."""

from synthgen.reformulating.library import library as library
from synthgen.reformulating.pairs import Pair as Pair
from synthgen.reformulating.pairs import Titled as Titled
from synthgen.reformulating.pairs import read_pairs as read_pairs
from synthgen.reformulating.pairs import unfit as unfit
from synthgen.reformulating.wanted import Wanted as Wanted
from synthgen.reformulating.wanted import wanted as wanted
