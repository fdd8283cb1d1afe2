//! Why packets went no further, as the status says it.

use std::fmt::Display;

use super::Lang;

texts! {
    of_tunnel(count, reasons) {
        "Descartes    {count} ({reasons})", "Dropped      {count} ({reasons})"
    }
    of_peer(count, reasons) {
        "    pacotes descartados: {count} ({reasons})", "    packets dropped: {count} ({reasons})"
    }
    no_rule() { "sem permissão", "no permission" }
    not_ours() { "para outro destino", "not for this node" }
    malformed() { "malformados", "malformed" }
    fragment() { "fragmentos", "fragments" }
    extension() { "com opções de IP", "with IP options" }
    spoofed() { "endereço de origem de outra", "source address of another" }
    unopened() { "não decifrados", "not opened" }
    no_endpoint() { "sem endereço para enviar", "nowhere to send" }
    too_large() { "grandes demais", "too large" }
    stranger() { "de desconhecidos", "of strangers" }
    flooded() { "apertos de mão em excesso", "too many handshakes" }
    no_peer() { "para endereço de ninguém", "to an address of nobody" }
    contradictory() { "cabeçalhos contraditórios", "contradictory headers" }
    full_queue() { "fila cheia", "queue full" }
    unsent() { "não enviados", "not sent" }
    receive_error() { "erros ao receber", "receive errors" }
    no_room() { "sem vaga para a conexão", "no room for a connection" }
    damaged() { "soma de verificação errada", "wrong checksum" }
    forgotten() { "conversas esquecidas", "conversations forgotten" }
}
