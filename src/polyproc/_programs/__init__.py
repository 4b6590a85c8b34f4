"""The programs that polyproc starts. Nobody imports them."""
