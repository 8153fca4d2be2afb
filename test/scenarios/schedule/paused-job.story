# A paused job runs nothing and breaches nothing; resumed, the late run comes at once.
the scheduler runs
vm web on production

protect web from production to recovery: every 20 min
wait 5 min
pause the job of web
wait 1 h
expect 1 point of web
expect web to be not rpo-breached
resume the job of web
wait 1 min
expect 2 points of web
