"""The items of CLAIM 2024 (44) and TRIPOD+AI (52 with their letters), in our own words.

`key` names the answer of a run (``checklist.answers``); without one the item is always left to a person.
"""

from __future__ import annotations

from typing import NamedTuple


class Item(NamedTuple):
    """One item of a checklist."""

    number: str
    part: str
    asks: str
    key: str = ""


CLAIM = (
    Item("1", "Title", "Says that it is a study of AI, and of which kind", "identify"),
    Item("2", "Abstract", "Structured summary: design, methods, results, conclusions"),
    Item("3", "Introduction", "Background; what the method is meant for and in whose hands", "use"),
    Item("4", "Introduction", "Aims and hypotheses"),
    Item("5", "Design", "Films collected beforehand or afterwards"),
    Item("6", "Design", "What the study is to show"),
    Item("7", "Data", "Where the films come from", "sources"),
    Item("8", "Data", "Who was taken in, who was left out"),
    Item("9", "Data", "How films are prepared", "pixels"),
    Item("10", "Data", "Which part of the data was chosen, and how"),
    Item("11", "Data", "How persons were made unrecognisable", "deidentified"),
    Item("12", "Data", "What was done about missing data"),
    Item("13", "Data", "How the films were taken: devices, views"),
    Item("14", "Reference standard", "What the truth is taken to be", "outcome"),
    Item("15", "Reference standard", "Why this one"),
    Item("16", "Reference standard", "Who gave the labels, with what training"),
    Item("17", "Reference standard", "How the test films were labelled"),
    Item("18", "Reference standard", "How far labellers agree, with themselves and each other"),
    Item("19", "Partitions", "How films came into training, validation and test", "partition"),
    Item("20", "Partitions", "At which level these share nothing", "disjoint"),
    Item("21", "Testing data", "Number of test films planned, and why", "size"),
    Item("22", "Model", "The network: inputs, outputs, layers", "architecture"),
    Item("23", "Model", "Software and its versions", "software"),
    Item("24", "Model", "What the weights began as", "initial"),
    Item("25", "Training", "Training: augmentation, settings, number of models", "training"),
    Item("26", "Training", "How the final model was chosen", "choice"),
    Item("27", "Training", "How several models become one", "ensemble"),
    Item("28", "Evaluation", "Measures of performance", "measures"),
    Item("29", "Evaluation", "Measures of chance and uncertainty", "uncertainty"),
    Item("30", "Evaluation", "How robust the result is", "robust"),
    Item("31", "Evaluation", "How the model's answers are explained, and whether that was checked", "heat"),
    Item("32", "Evaluation", "Test on films of the same sources", "internal"),
    Item("33", "Evaluation", "Test on films of other sources", "external"),
    Item("34", "Evaluation", "Registration, where it is a trial"),
    Item("35", "Results", "Patients and films taken in and left out", "flow"),
    Item("36", "Results", "Who they are, partition by partition", "characteristics"),
    Item("37", "Results", "Performance with its uncertainty", "performance"),
    Item("38", "Results", "Diagnostic accuracy with its precision", "performance"),
    Item("39", "Results", "What went wrong: errors looked at", "failures"),
    Item("40", "Discussion", "Limits of the study", "limits"),
    Item("41", "Discussion", "What follows for practice", "use"),
    Item("42", "Other", "Where the protocol or more detail is", "protocol"),
    Item("43", "Other", "Where software, model and data are", "code"),
    Item("44", "Other", "Who paid, and their part in it"),
)

TRIPOD = (
    Item("1", "Title", "Says that a prediction model is developed or evaluated, for whom and what", "identify"),
    Item("2", "Abstract", "Summary by the rules for abstracts"),
    Item("3a", "Introduction", "The health problem, and why a model"),
    Item("3b", "Introduction", "For whom the model is, where in care, in whose hands", "use"),
    Item("3c", "Introduction", "Known inequalities between groups of people"),
    Item("4", "Introduction", "Aims: development, evaluation or both"),
    Item("5a", "Methods: data", "Sources of the data, for each purpose, and how typical they are", "sources"),
    Item("5b", "Methods: data", "From when to when"),
    Item("6a", "Methods: participants", "Where: kind, number and place of centres", "setting"),
    Item("6b", "Methods: participants", "Who could take part"),
    Item("6c", "Methods: participants", "Treatments received, where they matter"),
    Item("7", "Methods: preparation", "Preparation and checks of the data, alike in all groups", "quality"),
    Item("8a", "Methods: outcome", "What is predicted, how and when it was found", "outcome"),
    Item("8b", "Methods: outcome", "Who judged it, with what training"),
    Item("8c", "Methods: outcome", "Whether they knew the predictors"),
    Item("9a", "Methods: predictors", "Which predictors were considered, and why", "pixels"),
    Item("9b", "Methods: predictors", "What each is, how and when it was measured", "pixels"),
    Item("9c", "Methods: predictors", "Who judged them, where judgement is needed"),
    Item("10", "Methods: size", "How the number of participants came about", "size"),
    Item("11", "Methods: missing data", "What was done about missing data"),
    Item("12a", "Methods: analysis", "How data were divided for development and evaluation", "partition"),
    Item("12b", "Methods: analysis", "How predictors enter: scaling, transformation", "pixels"),
    Item("12c", "Methods: analysis", "Kind of model, all steps of building, tuning and inner validation", "training"),
    Item("12d", "Methods: analysis", "Differences between clusters such as hospitals", "clusters"),
    Item("12e", "Methods: analysis", "Measures and plots of performance", "measures"),
    Item("12f", "Methods: analysis", "Whether and how the model was updated", "updating"),
    Item("12g", "Methods: analysis", "How predictions were computed for the evaluation", "architecture"),
    Item("13", "Methods: imbalance", "What was done about rare classes, and about calibration after it", "imbalance"),
    Item("14", "Methods: fairness", "What was done for fairness", "fairness"),
    Item("15", "Methods: output", "What the model gives out, and how cut-offs were chosen", "output"),
    Item("16", "Methods: differences", "How development and evaluation data differ"),
    Item("17", "Methods: ethics", "Who approved; consent", "ethics"),
    Item("18a", "Open science", "Who paid, and their part in it"),
    Item("18b", "Open science", "Conflicts of interest"),
    Item("18c", "Open science", "Where the protocol is", "protocol"),
    Item("18d", "Open science", "Registration"),
    Item("18e", "Open science", "Where the data are"),
    Item("18f", "Open science", "Where the code is", "code"),
    Item("19", "Involvement", "How patients and the public had a part"),
    Item("20a", "Results: participants", "Flow of participants, with and without the outcome", "flow"),
    Item(
        "20b", "Results: participants", "Who they are, overall and by source, with what is missing", "characteristics"
    ),
    Item("20c", "Results: participants", "Evaluation against development data: important predictors"),
    Item("21", "Results: development", "Participants and outcomes in each analysis", "events"),
    Item("22", "Results: specification", "The whole model, so that others can predict with it", "architecture"),
    Item("23a", "Results: performance", "Performance with intervals, in subgroups too", "performance"),
    Item("23b", "Results: performance", "Differences of performance between clusters", "clusters"),
    Item("24", "Results: updating", "What updating gave", "updating"),
    Item("25", "Discussion", "What the results mean, also for fairness and beside other studies", "interpretation"),
    Item("26", "Discussion", "Limits: who is missing, size, overfitting, missing data", "limits"),
    Item("27a", "Discussion: use", "What happens to poor or missing input", "input_quality"),
    Item("27b", "Discussion: use", "What users must do and know"),
    Item("27c", "Discussion: use", "Next steps, and to whom it applies elsewhere"),
)
