//! Answers about keys as replies.

use bytes::Bytes;
use corgi_base::Answer;
use corgi_resp::Reply;

/// Returns an answer as a reply.
pub fn reply_of(answer: Answer) -> Reply {
    match answer {
        Answer::Ok => Reply::ok(),
        Answer::Status(text) => Reply::Simple(Bytes::from_static(text.as_bytes())),
        Answer::Nil => Reply::Null,
        Answer::NilArray => Reply::NullArray,
        Answer::Int(n) => Reply::Integer(n),
        Answer::Bulk(bytes) => Reply::Bulk(bytes),
        Answer::Array(answers) => Reply::Array(answers.into_iter().map(reply_of).collect()),
        Answer::Map(pairs) => {
            let pair = |(key, value)| (reply_of(key), reply_of(value));
            Reply::Map(pairs.into_iter().map(pair).collect())
        }
        Answer::Streams(streams) => {
            let pair = |(key, value)| (Reply::Bulk(key), reply_of(value));
            Reply::Keyed(streams.into_iter().map(pair).collect())
        }
        Answer::Error(error) => Reply::error(error.to_string()),
    }
}
