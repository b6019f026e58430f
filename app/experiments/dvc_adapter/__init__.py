"""The adapter to DVC: the only code that imports DVC, starts it, or knows its files and processes.

Much of that is private to DVC and may change with any release of it;
tests/app/experiments/test_dvc_contract.py checks all of it.
"""
