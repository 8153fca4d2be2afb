# A job that may move 256 KiB a second takes its time; a guest that writes on is not slowed, and the next point brings the rest.
vm web on production: ledger every 1 s

protect web from production to recovery: at most 256 KiB a second
write web vda 0-63 bulk
run web
run web
expect 2 points of web
expect no guest to have been paused
