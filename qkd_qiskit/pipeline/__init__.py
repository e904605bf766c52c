"""The flow, stage by stage: build, train, evaluate; with objects in memory or with a run directory."""
