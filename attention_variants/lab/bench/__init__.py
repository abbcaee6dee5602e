"""Side by side with what a reader would pick instead: one run, checked equal first, then measured.

The rooms, in the order in which a run goes through them: ``workloads`` (the problems), ``contenders`` (who
takes part, each behind an adapter with the same weights), ``race`` (equality, then interleaved timing),
``growth`` (time and peak memory against T), ``shares`` (where the time goes), ``bounds`` (what is promised,
beside what came out), ``result`` (the whole as tables and JSON), ``figures``, and ``run``, which calls them all.
"""
