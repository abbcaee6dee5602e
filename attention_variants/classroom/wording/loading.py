"""What is said of a submission as a whole: why it could not be read or loaded, and what else happened to it.

A stop is where the code of a submission stopped while it was loaded. Its templates come in threes: without a line, with
the line, and for what took too long.
"""

#: Why a file that was handed in, or a process that graded one, gave no answers.
UNREADABLE = {
    "no_file": "there is no file {file}",
    "not_a_file": "{file} is not a file",
    "cannot_be_opened": "{error}",
    "no_file_in_the_folder": "there is no .py or .ipynb file in the folder",
    "too_large": "the file has {size:,} bytes; at most {most:,} are read",
    "empty": "the file is empty",
    "not_in_its_encoding": "the file is not text in {encoding}: byte 0x{byte:02x} at position {position}. "
    "Was it saved in another encoding, or is it no Python file?",
    "unknown_encoding": "the file is not text in UTF-8 ({error}).",
    "unknown_encoding_utf16": "the file is not text in UTF-8 ({error}). It seems to be UTF-16.",
    "notebook_not_in_utf8": "the notebook is not text in UTF-8: byte 0x{byte:02x}",
    "notebook_not_json": "the notebook is damaged, it is not JSON: {error}",
    "notebook_nested_too_deeply": "the notebook is damaged: its JSON is nested too deeply",
    "notebook_without_cells": "this is JSON, but no notebook: it has no cells",
    "notebook_without_code": "there is no code in the notebook",
    "process_lost": "the process that graded it was ended, twice, and the second time no other submission was running; "
    "does it kill other processes, or take more memory than there is?",
    "grader_failed": "the grader itself failed on it, which should be told to its authors: {error}",
}

#: Why there is no function, or no class, after the code of a submission was run.
NOT_LOADED = {
    "not_loaded_error": "{error}",
    "not_loaded_function_of_another_type": "{name} is no function: its type is {type}",
    "not_loaded_function_in_file": "there is no function {name}; the file defines no function.",
    "not_loaded_function_in_notebook": "there is no function {name}; the notebook defines no function.",
    "not_loaded_function_in_file_others": "there is no function {name}; the file defines {others}. Is it renamed?",
    "not_loaded_function_in_notebook_others": "there is no function {name}; the notebook defines {others}. "
    "Is it renamed?",
    "not_loaded_class_of_another_type": "{name} is no class: its type is {type}",
    "not_loaded_class_in_file": "there is no class {name}; the file defines no class.",
    "not_loaded_class_in_notebook": "there is no class {name}; the notebook defines no class.",
    "not_loaded_class_in_file_others": "there is no class {name}; the file defines {others}. Is it renamed?",
    "not_loaded_class_in_notebook_others": "there is no class {name}; the notebook defines {others}. Is it renamed?",
    "not_loaded_and_stop": "{missing} {stop}",
}

#: Where it stopped, said after one of the above.
STOPS = {
    "stop_of_a_file": "The file stopped with {error}",
    "stop_of_a_file_line": "The file stopped in line {line} with {error}",
    "stop_of_a_file_time": "The file did not finish within {seconds:g} seconds",
    "stop_of_a_cell": "Cell {cell} stopped with {error}",
    "stop_of_a_cell_line": "Cell {cell} stopped in line {line} with {error}",
    "stop_of_a_cell_time": "Cell {cell} did not finish within {seconds:g} seconds",
}

#: How Python's own errors call the code: one cell of a file, and a notebook whose file is not known.
FILES = {
    "cell": "{file}, cell {number}",
    "notebook": "the notebook",
}

#: What else there is to know of a submission that was graded.
REMARKS = {
    "one_of_several_files": "Of {count} files {file} was graded, not {others}.",
    "file_stopped": "The file stopped with {error}; what it had defined until then was graded.",
    "file_stopped_line": "The file stopped in line {line} with {error}; what it had defined until then was graded.",
    "file_stopped_time": "The file did not finish within {seconds:g} seconds; what it had defined until then was "
    "graded.",
    "cell_passed_over": "Cell {cell} was passed over: it stopped with {error}",
    "cell_passed_over_line": "Cell {cell} was passed over: it stopped in line {line} with {error}",
    "cell_passed_over_time": "Cell {cell} was passed over: it did not finish within {seconds:g} seconds",
    "cells_passed_over": "{count} cells were passed over; the first, cell {cell}, stopped with {error}",
    "cells_passed_over_line": "{count} cells were passed over; the first, cell {cell}, stopped in line {line} with "
    "{error}",
    "cells_passed_over_time": "{count} cells were passed over; the first, cell {cell}, did not finish within "
    "{seconds:g} seconds",
    "no_rules": "There are no rules for variant {variant}, {name}: only whether it is ready-made was looked at.",
}
