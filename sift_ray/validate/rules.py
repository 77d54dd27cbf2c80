"""Every rule there is, with its severity: the registry that `sift-ray validate` reports by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sift_ray.validate.findings import Rule, Severity

_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES: Final[Mapping[str, Rule]] = {
    rule.name: rule
    for rule in (
        # form of files and rows
        Rule("unreadable_file", _ERROR, "every file can be read"),
        Rule("empty_file", _WARNING, "every file has rows"),
        Rule("stray_file", _ERROR, "nothing but data lies in a language folder, as clients read every file there"),
        Rule("misplaced_file", _WARNING, "every file of rows lies in a folder of split, task and language"),
        Rule("unknown_language", _ERROR, "language folders are named by a language of the data set"),
        Rule("schema", _ERROR, "every column is there, in its type"),
        Rule("null_value", _ERROR, "no value is null that may not be"),
        Rule("unreadable_row", _ERROR, "every line is a row of JSON with values of the right types"),
        Rule("row_keys", _ERROR, "a published row has exactly its four keys, and every part its two, null or not"),
        Rule("message_shape", _ERROR, "messages are of the user and the assistant, with the parts that the task has"),
        Rule("message_order", _WARNING, "comparisons have one order of audio and text throughout"),
        Rule("task_of_folder", _ERROR, "the task is that of the folder"),
        Rule("split_of_folder", _ERROR, "the split is that of the folder"),
        # ids
        Rule("id_form", _ERROR, "an id has the form that its source gives it"),
        Rule("id_stem", _ERROR, "the stem of the audio is the id, or its part of a comparison's"),
        Rule("utterance_ids", _ERROR, "the id is made of the utterances' ids"),
        Rule("sample_id_form", _ERROR, "a sample id is the unit's in hex, the task, and the place of the pair"),
        # language
        Rule("language_of_folder", _ERROR, "the language is that of the folder"),
        Rule("language_of_source", _ERROR, "the data source is one of the folder's language"),
        Rule("language_of_id", _ERROR, "an id that names a language names the folder's"),
        Rule("language_of_text", _ERROR, "the texts of a file are in the folder's language"),
        Rule("language_of_some_texts", _WARNING, "no text is in another language than its folder's"),
        Rule("language_unclear", _NOTE, "the language of most texts can be told"),
        # repetition
        Rule("duplicate_sample_id", _ERROR, "a sample id stands for one row of the whole release"),
        Rule("duplicate_row", _ERROR, "no row says the same of the same audio as another of its split"),
        Rule("row_in_two_splits", _ERROR, "no row stands in two splits"),
        Rule("audio_in_two_splits", _ERROR, "no audio is heard in two splits"),
        Rule("speaker_in_two_splits", _ERROR, "no speaker is heard in two splits"),
        Rule("formats_differ", _ERROR, "a row of one format stands in the other too"),
        # texts
        Rule("empty_text", _ERROR, "every question and answer says something"),
        Rule("long_text", _ERROR, "no text is longer than its task allows", slack=0.001),
        Rule("leaked_name", _ERROR, "no text holds a column's name, JSON or markup", slack=0.001),
        Rule("leaked_word", _ERROR, "no text speaks of metadata", slack=0.001),
        Rule("leaked_number", _ERROR, "no text gives a measurement with its unit", slack=0.001),
        # balance
        Rule("missing_task", _WARNING, "a task that a split has in one language it has in all of them"),
        Rule("task_balance", _WARNING, "no task outweighs all others, nor in the benchmark another of its kind"),
        Rule("label_balance", _WARNING, "no label dominates an attribute in the benchmark"),
        Rule("label_balance_training", _NOTE, "no label dominates an attribute"),
        Rule("answer_balance", _WARNING, "no answer makes up much of a task"),
        # evidence
        Rule("evidence_form", _ERROR, "evidence names keys and labels that there are, in their order"),
        Rule("no_evidence", _ERROR, "every row has evidence"),
        Rule("not_annotated", _ERROR, "every utterance was annotated, and accepted"),
        Rule("evidence_not_measured", _ERROR, "evidence is what was measured"),
        Rule("spoken_text", _ERROR, "the text that is to be spoken is the transcript of the audio"),
    )
}
"""Rules by name."""
