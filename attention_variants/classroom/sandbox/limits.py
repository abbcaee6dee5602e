"""Every limit on a submission, in one place: how long it may take, what it may use, and how much of it is kept.

Those on the words of an answer, from `LONGEST_WORDS` to `MOST_AXES`, stand with the answer, in `contract.answer`.
Times are in seconds, sizes in bytes.
"""

MIB = 1024**2

# -------------------------------------------------------------------------- time and memory, which a caller may change

#: How long a function may take for all problems together.
SECONDS = 10.0
#: Nobody may ask for this long, about eleven days, or longer.
TOO_MANY_SECONDS = 1e6
#: How long a layer may take, for its heads and again for real sentences.
SECONDS_OF_A_LAYER = 20.0
#: How much memory it may take beyond what PyTorch itself needs (held on Linux).
MEMORY = 2 * 1024 * MIB

# -------------------------------------------------------------------------------------------- time for everything else

#: To load, a module gets its seconds once more, and the cells of a notebook together so many times its seconds.
NOTEBOOK_LOADS_TIMES = 2.0
#: One cell may take this share of that, so that it does not take the time of all others.
SHARE_OF_ONE_CELL = 0.25
#: What the process gets beyond that, to begin and to write its answers, before it is ended from outside.
GRACE = 1.0
#: What it gets in processor time beyond its seconds: the limit that the system holds even if nobody is looking.
GRACE_OF_PROCESSOR = 2.0
#: How much longer the fork server may be silent before it is taken for lost: PyTorch itself may take long to load.
GRACE_OF_SERVER = 60.0
#: A process that grades may be silent for so many times a submission's seconds, and so much longer.
GRADER_TIMES, GRACE_OF_GRADER = 3.0, 120.0
#: How often a clock that was set rings again: one ring may be swallowed by ``except BaseException``.
RING_AGAIN = 0.05

# ------------------------------------------------------------------------------------------------- sizes and processes

#: A larger file that was handed in is not read.
LARGEST_SUBMISSION = 50 * MIB
#: It cannot write more than this into a file.
LARGEST_WRITTEN = 64 * MIB
#: More than this is not read of what it answers.
LARGEST_ANSWERS = 64 * MIB
#: After so many problems that only raise NotImplementedError the others are not asked: nothing is written yet.
ENOUGH_NOT_WRITTEN = 5
#: Results with more numbers are not looked at.
MOST_NUMBERS = 1_000_000
#: It cannot use the open files of the process that started it: descriptors up to this one are closed.
MOST_DESCRIPTORS = 256
#: So many submissions at most are graded at the same time, whatever the number of processor cores.
MOST_GRADERS = 64

# ---------------------------------------------------------------------------------------------------------- characters

#: Of an error's words so much is kept where they arise.
LONGEST_ERROR = 400
#: Of what is printed in one call so much is kept, of which `contract.answer.MOST_LINES` are shown.
MOST_PRINTED = 4000
#: So many entries of a dict or list are handed back.
MOST_ENTRIES = 100
#: A longer name of a student is cut.
LONGEST_STUDENT = 200
#: A longer line from the fork server is none of its own.
LONGEST_REPLY = 65_536


def seconds_to_load(seconds: float, is_notebook: bool) -> float:
    """Say how long a submission may take to load.

    Parameters
    ----------
    seconds : float
        What its function may take.
    is_notebook : bool
        Whether it is in cells.

    Returns
    -------
    seconds : float
    """
    return seconds * (NOTEBOOK_LOADS_TIMES if is_notebook else 1.0)
