"""Making models robust: training (train/). Every defense is audited through itself, never around."""
