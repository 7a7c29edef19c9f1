"""What predictions say of a judge beyond its accuracy: calibration, order, length, abstention, cost; and figures."""
