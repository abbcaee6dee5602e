"""nbgrader's settings for the course; run its commands in this folder."""

import warnings
from contextlib import suppress
from pathlib import Path

from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.preprocessors import ClearSolutions, Execute
from sqlalchemy.exc import SAWarning

from attention_variants.classroom.nbgrader.preprocessors import GradeCells, StudentVersion

here = Path(__file__).resolve().parent
c = get_config()  # noqa: F821 (nbgrader defines it)
warnings.filterwarnings("ignore", category=SAWarning)  # of nbgrader's own, about how it uses its database

c.CourseDirectory.course_id = "attention"
c.CourseDirectory.root = str(here)

# Where students fetch and submit on one machine or a JupyterHub: a folder that all of them can reach.
c.Exchange.root = str(here / "exchange")
(here / "exchange").mkdir(exist_ok=True)
with suppress(OSError):  # a student who reads this file does not own the folder
    (here / "exchange").chmod(0o777)  # where students put their files; nbgrader keeps them from each other's

# Files from elsewhere (nbgrader zip_collect) are called after the student and the notebook: ada_4_masked.ipynb
c.FileNameCollectorPlugin.named_regexp = r".*?(?P<student_id>[^_/]+)_(?P<file_id>[1-9]\d?_\w+\.ipynb)"

# In place of the solutions: what students start from, and the code that they are to repair.
c.GenerateAssignment.preprocessors = [
    StudentVersion if step is ClearSolutions else step for step in GenerateAssignment.preprocessors.default()
]

# In place of a kernel that runs the notebook: students' functions are asked in a process of their own.
c.Autograde.autograde_preprocessors = [
    GradeCells if step is Execute else step for step in Autograde.autograde_preprocessors.default()
]

# A student who deletes a cell that gives points does not get out of it.
c.OverwriteCells.add_missing_cells = True
