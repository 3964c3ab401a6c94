"""How tasks are put into words: one wording to train on, others that are held out.

{x} and {y} are objects, {side} is left or right, {on} is the place's own preposition and {onto}
that of a motion.
"""

# Of each verb, the wording of training comes first.
PUT = (
    "put the {x} {on} the {y}",
    "place the {x} {onto} the {y}",
    "move the {x} {onto} the {y}",
    "set the {x} down {on} the {y}",
    "pick up the {x} and drop it {onto} the {y}",
    "take the {x} and lay it {on} the {y}",
    "the {x} belongs {on} the {y}",
    "bring the {x} to the {y}",
    "i want the {x} to be {on} the {y}",
)
PUSH = (
    "push the {x} to the {side}",
    "slide the {x} to the {side}",
    "nudge the {x} {side}",
    "shove the {x} towards the {side}",
    "move the {x} to the {side}",
    "the {x} should be further {side}",
    "give the {x} a push to the {side}",
)
STACK = (
    "stack the {x} on the {y}",
    "put the {x} on top of the {y}",
    "place the {x} onto the {y}",
    "pile the {x} on the {y}",
    "build a tower with the {x} on the {y}",
    "set the {x} down on the {y}",
    "pick up the {x} and lay it on the {y}",
)
# What may stand before and after any of them.
LEADS = ("please", "could you", "now", "robot")
ENDINGS = ("please", "now")

# Either stands for every {on} and {onto} when somebody else's words are read.
PREPOSITIONS = ("on top of", "onto", "into", "inside", "on", "in")
# Verbs and forms that are understood, although nobody here says them.
ALSO_PUT = (
    "set the {x} {on} the {y}",
    "lay the {x} {on} the {y}",
    "drop the {x} {on} the {y}",
    "take the {x} and put it {on} the {y}",
    "pick up the {x} and put it {on} the {y}",
)
ALSO_PUSH = ("push the {x} {side}", "slide the {x} {side}", "move the {x} {side}")
ALSO_PUSH += ("nudge the {x} to the {side}", "shove the {x} to the {side}", "shove the {x} {side}")
ALSO_STACK = ("stack the {x} on top of the {y}", "put the {x} on the {y}", "set the {x} on the {y}")
