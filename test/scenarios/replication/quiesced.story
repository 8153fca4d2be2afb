# Application-consistent points are required: a guest whose agent does not answer gets none rather than a lesser one.
vm web on production
vm mute on production: no agent

protect web, mute from production to recovery: quiesced
wait 10 s
run mute
expect the last operation failed with guest-not-answering
expect 0 points of mute
run web
expect the log to say quiesced
