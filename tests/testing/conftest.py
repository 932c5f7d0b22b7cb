"""The foreign project's own tests run in processes of theirs."""

collect_ignore = ["shop"]
