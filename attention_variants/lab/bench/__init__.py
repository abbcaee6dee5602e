"""Side by side with what a reader would pick instead: one run, checked equal first, then measured.

The modules, in the order in which a run goes through them: ``workloads`` (the problems), ``contenders`` (who
takes part, each behind an adapter with the same weights), ``reasons`` (why somebody takes no part), ``race``
(equality, then interleaved timing), ``growth`` (time and peak memory against T), ``shares`` (where the time goes),
``compiled``, ``result`` (the data, as JSON), ``bounds`` (what is guaranteed, beside what came out), ``tables``,
``figures``, and ``run``, which calls them all.
"""
