//! The doctor's problems, three sentences each: what was seen, what it means, what to do.

use std::fmt::Display;

use super::Trouble;
use crate::text::Lang;

/// One function per problem: `name(values) { seen, means, do }`, each `Portuguese, English`.
macro_rules! troubles {
    ($($name:ident($($value:ident),*) {
        seen: $seen_pt:literal, $seen_en:literal;
        means: $means_pt:literal, $means_en:literal;
        do: $do_pt:literal, $do_en:literal;
    })*) => {$(
        pub(crate) fn $name(lang: Lang $(, $value: impl Display)*) -> Trouble {
            match lang {
                Lang::Pt => Trouble {
                    observed: format!($seen_pt),
                    meaning: format!($means_pt),
                    remedy: format!($do_pt),
                },
                Lang::En => Trouble {
                    observed: format!($seen_en),
                    meaning: format!($means_en),
                    remedy: format!($do_en),
                },
            }
        }
    )*};
}

troubles! {
    agent_stopped() {
        seen: "o malha-node não está rodando aqui", "malha-node does not run here";
        means: "Sem o agente não há túnel: esta máquina está fora da rede.", "Without the agent there is no tunnel: this machine is off the overlay.";
        do: "Inicie-o: systemctl start malha-node; o motivo da parada está em: journalctl -u malha-node", "Start it: systemctl start malha-node; why it stopped is in: journalctl -u malha-node";
    }
    agent_ended(why) {
        seen: "{why}", "{why}";
        means: "O controlador não aceita mais esta identidade.", "The controller takes this identity no more.";
        do: "Peça um token novo ao operador e use: malha-node up TOKEN --replace", "Ask the operator for a new token and use: malha-node up TOKEN --replace";
    }
    agent_held_apart() {
        seen: "outra máquina se apresenta com esta identidade", "another machine shows this identity";
        means: "As duas ficam isoladas: o disco foi copiado, ou uma cópia antiga foi ligada.", "Both are held apart: the disk was copied, or an old copy was started.";
        do: "O operador escolhe qual fica: malha node resolve NODE --keep holder|rival", "The operator chooses which one stays: malha node resolve NODE --keep holder|rival";
    }
    agent_offline(state, age, why) {
        seen: "o agente roda, mas está {state} há {age}: {why}", "the agent runs, but has been {state} for {age}: {why}";
        means: "O túnel segue com o último mapa; mudanças do operador não chegam.", "The tunnel goes on with the last netmap; the operator's changes do not arrive.";
        do: "Veja os testes de DNS, UDP, TCP e relógio abaixo; se estiverem bem, o problema é no controlador.", "See the looks at DNS, UDP, TCP and clock below; if they are well, the controller has the problem.";
    }

    dns_fails(name, why) {
        seen: "{name} não tem endereço: {why}", "{name} has no address: {why}";
        means: "O agente não acha o controlador: uma ligação que cair não volta.", "The agent does not find the controller: a connection that breaks will not come back.";
        do: "Confira o /etc/resolv.conf e se o servidor de DNS desta rede responde: getent hosts {name}", "Check /etc/resolv.conf, and that this network's DNS server answers: getent hosts {name}";
    }
    dns_slow(name, took_s) {
        seen: "os servidores de DNS respondem devagar: {name} levou {took_s} s", "name servers answer slowly: {name} took {took_s} s";
        means: "Quase sempre o primeiro servidor de DNS, ou mais de um, não responde, e cada um custa 5 s antes que o próximo seja perguntado. Cada ligação nova espera por isso.", "Mostly the first name server, or more than one, does not answer, and each costs 5 s before the next one is asked. Each new connection waits for that.";
        do: "Veja quais servidores do /etc/resolv.conf ainda respondem, e tire os outros da lista.", "See which servers of /etc/resolv.conf are alive, and take the others off the list.";
    }
    udp_silent(addresses, why) {
        seen: "nenhuma resposta por UDP de {addresses}: {why}", "no answer over UDP from {addresses}: {why}";
        means: "UDP não passa, ou o hub está fora do ar. Se o TCP responde, o túnel vai por ele, mais devagar.", "UDP does not pass, or the hub is down. If TCP answers, the tunnel takes that, slower.";
        do: "Peça a quem cuida desta rede que libere UDP de saída para {addresses}.", "Ask who runs this network to let UDP out to {addresses}.";
    }
    udp_stranger(address, why) {
        seen: "em {address}/udp responde outra máquina: {why}", "another machine answers at {address}/udp: {why}";
        means: "Algo se põe no lugar do hub, ou o endereço mudou de dono. O túnel não usa esse caminho.", "Something takes the hub's place, or the address has another owner. The tunnel does not use that way.";
        do: "Confira com o operador o endereço do controlador, e se esta rede intercepta conexões.", "Check the controller's address with the operator, and whether this network intercepts connections.";
    }
    tcp_silent(controller, why) {
        seen: "nenhuma resposta por TCP de {controller}: {why}", "no answer over TCP from {controller}: {why}";
        means: "TCP 443 não passa, ou o hub está fora do ar. Se o UDP responde, o túnel funciona, mas sem saída de reserva.", "TCP 443 does not pass, or the hub is down. If UDP answers, the tunnel works, but has no way to fall back on.";
        do: "Peça a quem cuida desta rede que libere TCP de saída para {controller}; atrás de um proxy, defina HTTPS_PROXY para o agente e para este comando.", "Ask who runs this network to let TCP out to {controller}; behind a proxy, set HTTPS_PROXY for the agent and for this command.";
    }
    tcp_proxy(why) {
        seen: "{why}", "{why}";
        means: "Com HTTPS_PROXY, o agente só usa TCP pelo proxy.", "With HTTPS_PROXY, the agent uses TCP through the proxy only.";
        do: "Corrija HTTPS_PROXY (http://usuário:senha@proxy:porta) ou peça que o proxy permita CONNECT para o controlador.", "Mend HTTPS_PROXY (http://user:password@proxy:port), or ask that the proxy allows CONNECT to the controller.";
    }
    tcp_broken(controller, why) {
        seen: "{controller} aceita TCP, mas a conversa falha: {why}", "{controller} accepts TCP, but the talk fails: {why}";
        means: "Um filtro ou um proxy transparente no caminho estraga o TLS, ou quem responde não é o controlador.", "A filter or a transparent proxy on the way breaks TLS, or it is not the controller that answers.";
        do: "Peça a quem cuida desta rede que não inspecione o TLS para {controller}.", "Ask who runs this network not to inspect TLS to {controller}.";
    }
    tcp_partly(controller, why) {
        seen: "{controller} responde por TCP, mas não a tudo que o agente usa: {why}", "{controller} answers over TCP, but not to all that the agent uses: {why}";
        means: "Se o UDP for bloqueado, o túnel ou o controle não terá como seguir por TCP.", "Where UDP is blocked, the tunnel or the control channel can't go on over TCP.";
        do: "Peça a quem cuida desta rede que não filtre por protocolo o TCP para {controller}.", "Ask who runs this network not to filter TCP to {controller} by protocol.";
    }
    portal_tls(why) {
        seen: "outro responde pelo controlador: {why}", "somebody else answers for the controller: {why}";
        means: "Há um portal de acesso, um filtro que abre o TLS, ou o token é de outra instalação.", "There is a captive portal, a filter that opens TLS, or the token is of another installation.";
        do: "Entre no portal com um navegador nesta rede, ou peça que o controlador fique fora da inspeção de TLS.", "Log in to the portal with a browser on this network, or ask to except the controller from TLS inspection.";
    }
    portal_page(status, location) {
        seen: "HTTP é desviado ({status}) para {location}", "HTTP is led astray ({status}) to {location}";
        means: "Há um portal de acesso: a rede só abre depois do login nele.", "There is a captive portal: the network opens only after a login there.";
        do: "Entre no portal com um navegador nesta rede, ou peça que esta máquina fique fora dele.", "Log in to the portal with a browser on this network, or ask to except this machine from it.";
    }
    mtu_small(packet, needed, mtu, largest) {
        seen: "só pacotes de até {packet} bytes passam inteiros; o túnel (MTU {mtu}) precisa de {needed}", "only packets of up to {packet} bytes pass in one piece; the tunnel (MTU {mtu}) needs {needed}";
        means: "Pacotes cheios são cortados em dois no caminho, ou se perdem: páginas grandes param.", "Full packets are cut in two on the way, or are lost: large pages stall.";
        do: "Ponha mtu-bytes = {largest} em /etc/malha/node.toml e reinicie o agente.", "Put mtu-bytes = {largest} into /etc/malha/node.toml and restart the agent.";
    }
    mtu_too_small(packet, needed, mtu) {
        seen: "só pacotes de até {packet} bytes passam inteiros; o túnel (MTU {mtu}) precisa de {needed}", "only packets of up to {packet} bytes pass in one piece; the tunnel (MTU {mtu}) needs {needed}";
        means: "Pacotes cheios são cortados em dois no caminho, ou se perdem: páginas grandes param.", "Full packets are cut in two on the way, or are lost: large pages stall.";
        do: "O túnel não pode ser menor que 1280: peça ao provedor um caminho de pelo menos {needed} bytes, ou retire o outro túnel que há no meio.", "The tunnel can't be smaller than 1280: ask the provider for a path of at least {needed} bytes, or take away the other tunnel in between.";
    }
    clock_behind(age) {
        seen: "o relógio desta máquina está atrasado {age} em relação ao do controlador", "this machine's clock is {age} behind the controller's";
        means: "Certificados parecem ainda não valer; registros e prazos saem errados.", "Certificates seem not to be valid yet; logs and deadlines come out wrong.";
        do: "Acerte a hora e ligue a sincronização: timedatectl set-ntp true; uma bateria de placa gasta perde a hora a cada desligamento.", "Set the time and turn on synchronization: timedatectl set-ntp true; a worn-out board battery loses the time at each power cut.";
    }
    clock_ahead(age) {
        seen: "o relógio desta máquina está adiantado {age} em relação ao do controlador", "this machine's clock is {age} ahead of the controller's";
        means: "Certificados parecem vencidos; registros e prazos saem errados.", "Certificates seem to be over; logs and deadlines come out wrong.";
        do: "Acerte a hora e ligue a sincronização: timedatectl set-ntp true", "Set the time and turn on synchronization: timedatectl set-ntp true";
    }
    clock_unfit() {
        seen: "o certificado do controlador não vale na hora desta máquina", "the controller's certificate is not valid at this machine's time";
        means: "Um dos dois relógios está errado, quase sempre o desta máquina; o agente não consegue se ligar.", "One of the two clocks is wrong, mostly this machine's; the agent can't connect.";
        do: "Confira data e hora: date; e ligue a sincronização: timedatectl set-ntp true", "Check date and time: date; and turn on synchronization: timedatectl set-ntp true";
    }
    certificate_over(days) {
        seen: "o certificado desta máquina venceu há {days} dias", "this machine's certificate ended {days} days ago";
        means: "O controlador não a aceita mais; o túnel segue só com o que há em disco.", "The controller takes it no more; the tunnel goes on with what is on disk only.";
        do: "Se o relógio estiver certo, peça ao operador: malha node replace, e use o token com: malha-node up TOKEN --replace", "If the clock is right, ask the operator for: malha node replace, and use its token with: malha-node up TOKEN --replace";
    }
    certificate_not_yet(wait) {
        seen: "o certificado desta máquina só passa a valer em {wait}", "this machine's certificate is valid only in {wait}";
        means: "O relógio desta máquina está atrasado, ou o do controlador estava adiantado quando assinou.", "This machine's clock is behind, or the controller's was ahead when it signed.";
        do: "Acerte data e hora: timedatectl set-ntp true. Se já estiverem certas, peça ao operador: malha node replace, e use o token com: malha-node up TOKEN --replace", "Set date and time: timedatectl set-ntp true. If they are right, ask the operator for: malha node replace, and use its token with: malha-node up TOKEN --replace";
    }
    certificate_overdue(days) {
        seen: "o certificado desta máquina vence em {days} dias, e já devia ter sido renovado", "this machine's certificate ends in {days} days, and should have been renewed by now";
        means: "O agente renova sozinho quando está ligado ao controlador; há tempo ele não consegue.", "The agent renews it by itself when it is connected to the controller; for some time it could not.";
        do: "Resolva os problemas de ligação; a renovação vem em seguida. O registro do agente diz se ela falhou.", "Mend what keeps it from the controller; the renewal follows. The agent's log says whether it failed.";
    }
    certificate_damaged(why) {
        seen: "{why}", "{why}";
        means: "Sem certificado legível o agente não inicia.", "Without a readable certificate the agent does not start.";
        do: "Restaure a pasta de estado, ou peça um token com: malha node replace", "Restore the state folder, or ask for a token with: malha node replace";
    }
    tunnel_not_applied(why) {
        seen: "o mapa da rede não entrou em vigor: {why}", "the netmap is not in force: {why}";
        means: "O túnel segue com o mapa anterior, ou sem nenhum.", "The tunnel goes on with the map before, or with none.";
        do: "Corrija o que a mensagem diz; o agente tenta de novo sozinho.", "Mend what the message says; the agent tries again by itself.";
    }
    tunnel_interface(why) {
        seen: "a interface foi alterada por outros e ainda não pôde ser reposta: {why}", "others changed the interface, and it can't be set again yet: {why}";
        means: "Nada, ou só uma das famílias de endereços, passa pela rede.", "Nothing passes through the overlay, or one address family alone.";
        do: "Descubra quem altera a interface (NetworkManager, um script) e faça com que a deixe; o agente tenta de novo sozinho.", "Find who changes the interface (NetworkManager, a script) and have it left alone; the agent tries again by itself.";
    }
    tunnel_silent(hub, handshake) {
        seen: "o hub {hub} não responde dentro do túnel: {handshake}", "the hub {hub} does not answer in the tunnel: {handshake}";
        means: "Nada do que depende do túnel funciona, mesmo com o controle ligado.", "Nothing that needs the tunnel works, even with the control channel up.";
        do: "Veja UDP e TCP acima: se um deles responde, reinicie o agente e avise o operador do hub.", "See UDP and TCP above: if one of them answers, restart the agent and tell the hub's operator.";
    }
    service_refused(name, target) {
        seen: "{name}: nada escuta em {target}", "{name}: nothing listens at {target}";
        means: "O túnel pode estar bem, e quem abre o serviço recebe um erro.", "The tunnel may be well, and who opens the service gets an error.";
        do: "Inicie o programa do serviço, ou corrija o destino com o operador; confira: ss -ltn", "Start the service's program, or have the operator mend its target; check: ss -ltn";
    }
    service_silent(name, target) {
        seen: "{name}: {target} não responde a tempo", "{name}: {target} does not answer in time";
        means: "O programa está travado ou ocupado demais, ou um firewall local o fecha.", "The program hangs or is too busy, or a local firewall closes it.";
        do: "Reinicie o programa do serviço e veja o registro dele.", "Restart the service's program and look into its log.";
    }
    service_broken(name, target) {
        seen: "{name}: {target} fecha a conexão ou responde errado", "{name}: {target} closes the connection or answers wrongly";
        means: "Algo escuta ali, mas não é o que foi declarado, ou está com defeito (erro 5xx).", "Something listens there, but is not what was declared, or is out of order (error 5xx).";
        do: "Abra o destino nesta máquina (curl -v) e veja o registro do programa.", "Open the target on this machine (curl -v) and look into the program's log.";
    }
    names_closed(addresses) {
        seen: "os nomes da rede não são respondidos: {addresses}", "names of the overlay are not answered: {addresses}";
        means: "Programas desta máquina não acham outras pelo nome.", "Programs on this machine do not find others by name.";
        do: "Libere a porta 53 nesses endereços, ou ponha names = \"off\" em /etc/malha/node.toml", "Free port 53 at these addresses, or put names = \"off\" into /etc/malha/node.toml";
    }
    names_wrong(name, at, said) {
        seen: "{at} responde por {name}: {said}", "{at} answers for {name}: {said}";
        means: "O agente não responde pelo nome da própria máquina como devia.", "The agent does not answer for this machine's own name as it should.";
        do: "Reinicie o agente; se continuar, mande este relatório ao operador.", "Restart the agent; if that does not help, send this report to the operator.";
    }
    names_not_led(name, why) {
        seen: "o agente responde por {name}, mas os programas não recebem a resposta: {why}", "the agent answers for {name}, but programs do not get the answer: {why}";
        means: "O resolvedor da máquina foi configurado e mesmo assim não pergunta ao agente.", "The machine's resolver was set up, and does not ask the agent all the same.";
        do: "Confira: resolvectl status, e para onde aponta o /etc/resolv.conf", "Check: resolvectl status, and where /etc/resolv.conf points";
    }
    engine_impossible(engine, why) {
        seen: "o motor {engine}, pedido na configuração, não roda aqui: {why}", "the engine {engine} that the configuration wants can't run here: {why}";
        means: "O agente não inicia.", "The agent does not start.";
        do: "Dê ao agente o que falta (CAP_NET_ADMIN, /dev/net/tun ou o módulo wireguard), ou use engine = \"auto\".", "Give the agent what is missing (CAP_NET_ADMIN, /dev/net/tun or the wireguard module), or use engine = \"auto\".";
    }
    engine_argument_impossible(engine, why) {
        seen: "o motor {engine}, com que o agente foi iniciado por argumento, não roda aqui: {why}", "the engine {engine}, which the agent was given as an argument at its last start, can't run here: {why}";
        means: "Com os mesmos argumentos o agente não inicia.", "With the same arguments the agent does not start.";
        do: "Dê ao agente o que falta (CAP_NET_ADMIN, /dev/net/tun ou o módulo wireguard), ou inicie-o sem --engine.", "Give the agent what is missing (CAP_NET_ADMIN, /dev/net/tun or the wireguard module), or start it without --engine.";
    }
    guard_missing() {
        seen: "a guarda não está no lugar", "the guard is not in place";
        means: "As portas dos serviços podem estar abertas para a rede local.", "The ports of the services may be open to the local network.";
        do: "Inicie o agente, que a põe no lugar; se outro programa a retira, veja o registro.", "Start the agent, which puts it in place; if another program takes it away, see the log.";
    }
    guard_failed(why) {
        seen: "a guarda não está no lugar: {why}", "the guard is not in place: {why}";
        means: "As portas dos serviços podem estar abertas para a rede local.", "The ports of the services may be open to the local network.";
        do: "Instale o nftables (nft) e dê CAP_NET_ADMIN ao agente, ou ponha guard = \"off\" em /etc/malha/node.toml", "Install nftables (nft) and give the agent CAP_NET_ADMIN, or put guard = \"off\" into /etc/malha/node.toml";
    }
    guard_behind(why) {
        seen: "o que a guarda fecha não pôde ser atualizado: {why}", "what the guard closes could not be brought up to date: {why}";
        means: "Portas de antes continuam fechadas; uma que veio depois pode estar aberta para a rede local.", "Ports of before stay closed; one that came later may be open to the local network.";
        do: "O agente tenta de novo a cada segundo. Se continuar, veja o motivo: descritores (LimitNOFILE), nftables (nft) ou CAP_NET_ADMIN.", "The agent tries again each second. If it stays so, see the reason: descriptors (LimitNOFILE), nftables (nft) or CAP_NET_ADMIN.";
    }
    guard_left(tables) {
        seen: "em vigor, sem que esta configuração a queira: inet {tables}", "in force, though this configuration does not want it: inet {tables}";
        means: "Uma guarda de antes, de outra interface por exemplo, fecha portas também para a rede da Malha.", "A guard of before, of another interface for instance, closes ports to the overlay, too.";
        do: "Se não é de outro agente nesta máquina, retire-a: nft delete table inet NOME", "Unless it belongs to another agent on this machine, remove it: nft delete table inet NAME";
    }
    files_exposed(files, folder) {
        seen: "outros usuários alcançam: {files}", "other users can use: {files}";
        means: "O agente recusa chaves que outros podem ler, e elas devem ser tidas como conhecidas.", "The agent refuses keys that others can read, and they must be taken as known.";
        do: "chmod -R go= {folder}; se houver outros usuários nesta máquina, peça também um token com: malha node replace", "chmod -R go= {folder}; if this machine has other users, also ask for a token with: malha node replace";
    }
    files_damaged(why) {
        seen: "{why}", "{why}";
        means: "O agente não inicia com uma pasta de estado danificada, ou espera o controlador para refazê-la.", "The agent does not start with a damaged state folder, or waits for the controller to mend it.";
        do: "Restaure a pasta de estado, ou peça um token com: malha node replace", "Restore the state folder, or ask for a token with: malha node replace";
    }
    disk_full(free, folder) {
        seen: "só {free} livres em {folder}", "only {free} free at {folder}";
        means: "O agente não grava mapas nem renova certificados; um reinício pode voltar a um estado antigo.", "The agent can't save maps or renew certificates; a restart may fall back to an old state.";
        do: "Libere espaço: df -h {folder}; journalctl --vacuum-size=100M", "Make room: df -h {folder}; journalctl --vacuum-size=100M";
    }
    disk_read_only(folder) {
        seen: "{folder} só permite leitura", "{folder} is read-only";
        means: "O agente não grava mapas nem renova certificados; discos com defeito costumam ficar assim.", "The agent can't save maps or renew certificates; failing disks often end like this.";
        do: "Veja dmesg; monte de novo com escrita ou troque o disco.", "See dmesg; mount it writable again, or replace the disk.";
    }
    disk_refuses(why) {
        seen: "o agente não conseguiu gravar: {why}", "the agent could not write: {why}";
        means: "Um reinício volta a um estado antigo.", "A restart falls back to an old state.";
        do: "Veja espaço e permissões da pasta de estado.", "Look at the state folder's room and permissions.";
    }
}
