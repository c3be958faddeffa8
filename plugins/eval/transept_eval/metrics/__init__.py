"""The metrics: functions of predictions and references, over well-kept libraries where there is one."""
