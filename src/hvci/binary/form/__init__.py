"""What every architecture fills in: functions, flow, effects and expressions, references."""
