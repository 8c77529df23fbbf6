"""Every text of the study screens, in one place."""

from assistant.study.items import CERTAINTIES, MARKS

TITLE = "Study · MedVInT assistant"
TABS = {
    "practise": "Practise",
    "look-alikes": "Look-alikes",
    "judge": "Judge the model",
    "trial": "Trial",
    "own": "My own image",
    "progress": "Progress",
    "teacher": "Teacher",
}
LEAD = {
    "practise": "Look, answer, say how sure you are. Only then comes the key, and why.",
    "look-alikes": "Two pictures of one kind side by side. Which one shows it?",
    "judge": "A picture, a question and the model's answer, right or wrong in equal numbers. Would you accept it?",
    "trial": "A trial of ways to practise: a test, practice in an order that a coin decides, a test, and one "
    "more after four weeks. The tests tell no key. Your name is in no table.",
    "own": "Say what you see first. Then the model says what it sees, beside yours. There is no mark: there is no key.",
    "teacher": "Your own cases as a ZIP: cases.csv with case_id, image, question, answer, source, licence "
    "(and options, explanation, side, boxes, skill, features), the images beside it. A | parts options, boxes and "
    "features; features are what tells a picture from its look-alikes.",
}
PACKS = "Packs"
PACKS_INFO = "None chosen: all of them."
NEXT = "Next question"
START = "Start"
COMMIT = "Commit"
HINT = "Hint"
GIVE_UP = "Give up"
ANSWER = "Your answer"
ANSWER_INFO = "Write it, or choose: the list has every answer of this kind."
OPTIONS = "Choose one"
TICKS = "What tells the two apart?"
TICKS_INFO = "Tick what one picture shows and the other does not; nothing where both show the same."
EXAMPLE = "For comparison, a picture whose answer is {}"
SHOWN_BY = {"A": "A alone", "B": "B alone", "": "not one alone"}
TICKED = {True: "you ticked it", False: "you did not tick it"}
REASONS = "features that tell them apart: {found} of {told} found in {pairs} pairs, {wrong} ticked that do not"
SURE = "How sure are you?"
CERTAINTY_CHOICES = [
    (f"{words}   (right {MARKS[key, True]:+d}, wrong {MARKS[key, False]:d})", key) for key, words in CERTAINTIES.items()
]
CLICK = (
    "Click on the place, or draw a box round it with the mouse; a box has to fit. By keyboard: arrow keys move the "
    "mark, with Shift they make a box."
)
READING = "The model's reading"
MISTAKE = "Report a mistake"
MISTAKE_LABEL = "What is wrong with this question?"
REPORTED = "Thank you. Two such reports stop the question."
ASK = "Ask about this case"
ASK_INFO = "The model answers; each sentence is set beside the key."
DRAWING = "drawing the first pack, a few seconds"
ASKING = "asking the model"
NO_EXPLANATION = "There is no sourced explanation for this item."
CONFIDENT_ERROR = "Confident error: it comes back today."
SURE_FIRST = "Say how sure you are, too."
NO_ATTEMPT = "Press Start first."
MODEL_WARNING = "Another reader, and often wrong."
OWN_MODALITIES = ["X-ray", "CT", "MRI", "ultrasound", "photograph", "microscopy", "other"]
OWN_REGIONS = ["chest", "brain", "abdomen", "neck", "pelvis", "limb", "skin", "eye", "other"]
OWN_SIDES = ["left", "right", "both", "none or middle"]
OWN_COMMIT = "Commit, then ask the model"
OWN_QUESTION = "What is abnormal in this image?"
OWN_NEEDS = "Say what you see first. Still missing: {}."
OWN_FIELDS = ("the image", "the kind of image", "the region", "the main finding", "the side", "how sure you are")
OWN_KEPT = "Nothing of your image is kept."
OWN_BLACKED_OUT = "Text in it that may name a person was blacked out before the model saw it."
GAPS = "Fill the gap: captions of similar figures"
CHECK = "Check"
LOG_DOWNLOAD = "Download my log"
LOG_UPLOAD = "Bring a log back"
LOG_DELETE = "Delete my log"
LOG_DELETED = "Your log is deleted."
LOG_OF_BROWSER = "Your answers belong to you. This browser holds a random name for them; nobody else's screen shows it."
LOG_OF_PERSON = "Your answers belong to you: they stand under the name you signed in with, and nobody else gets them."
EXAM = "Date of your exam"
EXAM_INFO = "YYYY-MM-DD; empty for none. Every skill then comes once more by the day before it."
AT_EXAM = "known on {}"
EXAM_SAVE = "Plan for it"
EXAM_SET = "Planned: every skill comes once more before {}."
EXAM_NONE = "No exam is planned for."
EXAM_FORM = "Write the date as YYYY-MM-DD, such as 2027-03-01."
ANKI = "Anki cards of what I answered"
TEACHER_KEY = "Teacher's key"
TEACHER_KEY_INFO = "medvint study teacher-key shows it. Keys of answers leave only with it."
PACK_NAME = "Name of the pack"
ZIP = "Choose a ZIP"
PUBLISH = "Publish"
BLANK = "Ask the model without the pictures"
UNMARKED = "Answers that could not be marked"
UNMARKED_INFO = "One that is right as well is accepted from then on."
ACCEPT = "Accept as right"
NOBODY = "Nobody has answered yet."
PUBLISHED = "Published: {}, version {}."
PACK_LINK = "Link to it, for learners"
RESULTS = "Results"
EXPORT = "Export"
WRONG_KEY = "This is not the teacher's key."
TOO_FEW = "too few to tell"
