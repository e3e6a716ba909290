"""Times fastcnn and its peers side by side.

Every framework lives in a process of its own (`workers`), so that no thread pool disturbs another, and the processes take
turns (`comparison`): A B C A B C ..., never two at once. What is compared are the ratios within one round.
"""
