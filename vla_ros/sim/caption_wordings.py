"""How each kind of question is put; the last wording of a kind is never trained on.

{x} and {y} are objects, {side} is a side or a colour.
"""

# What a person would call each thing's colour.
COLOURS = {
    "carrot": "orange",
    "banana": "yellow",
    "apple": "red",
    "orange": "orange",
    "pumpkin": "orange",
    "lemon": "yellow",
    "eggplant": "purple",
    "plate": "blue",
}

# Put in front of a question now and then.
LEADS = (
    "please tell me,",
    "question:",
    "look at the picture:",
    "say,",
    "i want to know:",
    "robot,",
)

WORDINGS: dict[str, tuple[str, ...]] = {
    "where_picture": (
        "where in the picture is the {x}?",
        "point at the {x}",
        "point to the {x} in the image",
        "at which place of the picture is the {x}",
        "find the {x} in the picture",
        "which pixel shows the {x}?",
        "image position of the {x}",
        "show me where in the image the {x} is",
    ),
    "where_place": (
        "where is the {x}?",
        "where on the table is the {x}?",
        "position of the {x}",
        "give the position of the {x} in millimetres",
        "where does the {x} lie?",
        "locate the {x}",
        "at which coordinates is the {x}?",
        "what are the coordinates of the {x}?",
    ),
    "where_height": (
        "how high is the {x}?",
        "height of the {x} above the table",
        "how far above the table is the {x}?",
        "at what height is the {x}?",
    ),
    "depth": (
        "how far from the camera is the {x}?",
        "depth of the {x}",
        "distance between the camera and the {x}",
        "how deep in the picture is the {x}?",
    ),
    "offset": (
        "how do you get from the gripper to the {x}?",
        "where is the {x} from the gripper?",
        "way from the gripper to the {x}",
        "how must the gripper move to reach the {x}?",
        "offset of the {x} from the gripper",
        "which motion brings the gripper to the {x}?",
    ),
    "gripper_picture": (
        "where in the picture is the gripper?",
        "point at the gripper",
        "point to the fingers in the image",
        "find the gripper in the picture",
        "image position of the gripper",
        "which pixel shows the finger tips?",
    ),
    "gripper_place": (
        "where is the gripper?",
        "position of the gripper",
        "where are the finger tips?",
        "give the position of the tool in millimetres",
        "at which coordinates is the gripper?",
        "what are the coordinates of the gripper?",
    ),
    "gripper_height": (
        "how high is the gripper?",
        "height of the gripper above the table",
        "how far above the table are the fingers?",
        "at what height is the gripper?",
    ),
    "opening": (
        "is the gripper open?",
        "is the gripper open or closed?",
        "how are the fingers?",
        "state of the gripper",
        "are the fingers apart?",
    ),
    "holding": (
        "what is the gripper holding?",
        "what is in the gripper?",
        "what does the robot hold?",
        "which object is between the fingers?",
        "what has the gripper picked up?",
    ),
    "is_holding": (
        "is the gripper holding the {x}?",
        "is the {x} in the gripper?",
        "does the robot hold the {x}?",
        "is the {x} grasped?",
        "have the fingers got the {x}?",
    ),
    "is_at_side": (
        "is the {x} {side} the {y}?",
        "does the {x} lie {side} the {y}?",
        "{side} the {y}, is there the {x}?",
        "true or not, the {x} is {side} the {y}",
        "would you say that the {x} is {side} the {y}?",
    ),
    "what_at_side": (
        "what is {side} the {x}?",
        "which objects are {side} the {x}?",
        "what lies {side} the {x}?",
        "name everything {side} the {x}",
        "what can be found {side} the {x}?",
    ),
    "which_side": (
        "where is the {x} seen from the {y}?",
        "on which side of the {y} is the {x}?",
        "how does the {x} lie to the {y}?",
        "where does the {x} lie compared with the {y}?",
    ),
    "on_plate": (
        "what is on the plate?",
        "what lies on the plate?",
        "which food is on the plate?",
        "what has been put on the plate?",
    ),
    "colour": (
        "what colour is the {x}?",
        "colour of the {x}",
        "which colour has the {x}?",
        "how is the {x} coloured?",
    ),
    "coloured": (
        "what is {side}?",
        "which objects are {side}?",
        "name the {side} things",
        "is there anything {side}?",
    ),
    "what_is_there": (
        "what is on the table?",
        "which objects are there?",
        "name all objects",
        "list what you see",
        "what can you see?",
    ),
    "caption": (
        "describe the scene",
        "describe the picture",
        "what does the picture show?",
        "tell me about the scene",
        "give a caption",
    ),
}
