-- Put messages into known lanes (those of a namespace other than the sender's).
post_messages(h.message_lane, h.message_kind)
return {}
