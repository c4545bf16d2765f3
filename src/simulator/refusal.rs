//! Errors before the first byte, in the shape of AWS (JSON body, class in `x-amzn-errortype`).

use bytes::Bytes;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) class: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, class: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            class: class.to_owned(),
            message: message.into(),
        }
    }

    /// 400: the request is not what the service model allows.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    /// 403: the signature is not that of the request.
    pub(super) fn signature(message: &str) -> Self {
        Self::new(403, "InvalidSignatureException", message)
    }

    /// The class that Bedrock's service model gives a status.
    pub(super) fn of_status(status: u16) -> Self {
        let class = match status {
            403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            408 => "ModelTimeoutException",
            424 => "ModelErrorException",
            429 => "ThrottlingException",
            500 => "InternalServerException",
            503 => "ServiceUnavailableException",
            _ => "ValidationException",
        };
        Self::new(status, class, "Scripted by x-simulate.")
    }

    /// The value of `x-amzn-errortype`, with the suffix that Bedrock adds.
    pub(super) fn error_type(&self) -> String {
        let class = &self.class;
        format!("{class}:http://internal.amazon.com/coral/com.amazon.bedrock/")
    }

    pub(super) fn body(&self) -> Bytes {
        serde_json::json!({"message": self.message})
            .to_string()
            .into()
    }
}
