# A failback to a restored copy that ran is given up. The source was off before the failover, and it is off after its undo: what the failback has stopped was somebody else.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
shut down web
fail over web
somebody restores web as web-copy on spare
accept the duplicate of web-copy
start web-copy
fail back web to the copy web-copy on spare
cancel the failback of web
expect web on production off
undo web
expect web on production off
