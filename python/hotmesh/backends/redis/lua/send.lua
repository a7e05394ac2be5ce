-- Send messages to runs by workflow id. Answers {delivered, run id, status, lane} of each.
return send_messages(h.sends)
